//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"os"
	"runtime"
)

// peer is the process of generator and backend.
func peer(conns int) {
	runtime.GOMAXPROCS(3)
	h, err := newHub()
	must(err)
	go h.run()
	out := json.NewEncoder(os.Stdout)
	must(out.Encode(h.port))
	var kept idlers
	for in := json.NewDecoder(os.Stdin); ; {
		var o order
		if in.Decode(&o) != nil {
			return
		}
		var r result
		var err error
		switch {
		case o.Keep < 0:
			kept.close()
		case o.Keep > 0:
			err = kept.come(o)
		case o.Secure:
			r, err = generateSecure(o, cmp.Or(o.Conns, conns))
		default:
			r, err = h.generate(o, cmp.Or(o.Conns, conns))
		}
		if err != nil {
			r.Error = err.Error()
		}
		must(out.Encode(r))
	}
}
