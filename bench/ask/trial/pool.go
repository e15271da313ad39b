package trial

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Pool is the name of the pool that is asked for.
const Pool = "render"

// Servers returns n that are unequal and declared.
func Servers(n int) []balance.ServerSpec {
	all := make([]balance.ServerSpec, n)
	for i := range all {
		all[i] = balance.ServerSpec{ID: balance.ServerID(fmt.Sprintf("server-%d", i)), Address: fmt.Sprintf("10.0.%d.%d:8000", i/250, i%250), Slots: float64(2 + i%7)}
	}
	return all
}
