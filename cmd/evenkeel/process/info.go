package process

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/version"

	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

// InfoPath is where a process says what it is, on its socket only.
const InfoPath = "/process"

// Info is what a process says of itself.
type Info struct {
	Role    string    `json:"role"`
	ID      string    `json:"id"`
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Listen  string    `json:"listen"`
	Admin   string    `json:"admin"`
	Masters []string  `json:"masters,omitempty"` // that an edge or agent asks
	After   int       `json:"after,omitempty"`   // the process from which it has taken over
}

// describe is what p says, taken from the record that says it serves.
func (p *Process) describe() Info {
	t := Info{PID: os.Getpid(), Version: version.String(), Started: time.Now()}
	if Generation() > 0 {
		t.After = ParentPID
	}
	for i := 0; i+1 < len(p.Serving); i += 2 {
		switch value := p.Serving[i+1]; p.Serving[i] {
		case "role":
			t.Role = fmt.Sprint(value)
		case "id", "edge", "server":
			t.ID = fmt.Sprint(value)
		case "listen":
			t.Listen = fmt.Sprint(value)
		case "admin":
			t.Admin = fmt.Sprint(value)
		case "masters":
			t.Masters, _ = value.([]string)
		}
	}
	return t
}

// openSocket has the process serve p.admin on its socket too. hide takes the socket away.
func (p *Process) openSocket() (hide func()) {
	if p.Admin == nil {
		return func() {}
	}
	p.info = p.describe()
	s, err := rundir.Listen(p.info.Role)
	if err != nil {
		p.Log.Warn("no socket in a runtime folder: commands on this machine reach this process by --admin only; "+rundir.Env+" names another folder", "err", err)
	}
	if s == nil {
		return func() {}
	}
	p.Components = append(p.Components, Component{Name: "socket", SharesConnections: true, Run: func(ctx context.Context) error { return p.Admin.Serve(ctx, s) }},
		Component{Name: "socket", Run: s.Keep})
	return s.Remove
}
