package agent

import (
	"fmt"
	"strconv"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Application says where the application is on this machine.
type Application struct {
	Address string // as balance.ServerSpec has it: the process that listens there is the application
	Cgroup  string // its control group, as /proc/PID/cgroup has it; empty: that of the listening process
	PID     string // its process id, or the path of a file that holds one; empty: the listening process
}

func (a *Application) validate(bad func(field, problem string)) {
	if _, err := strconv.ParseUint(a.PID, 10, 31); a.PID != "" && a.PID[0] != '/' && (err != nil || a.PID == "0") {
		bad("pid", fmt.Sprintf("%q, want a process id, or the path of a file that holds one, such as /run/app.pid", a.PID))
	}
	if a.Cgroup != "" && a.PID != "" {
		bad("cgroup", "written beside pid, which stands for the process's group: leave one out")
	}
}

// hostSource samples the application and the machine. newHostSource, of which every platform has
// its own, returns nil where nothing can be sampled.
type hostSource interface {
	// sample returns the metrics available at now, also together with an error about the others, and the time over which the CPU's
	// utilisation is a mean; zero: it is not among the metrics.
	sample(now balance.Instant) (metrics []balance.Metric, window time.Duration, err error)
	// again makes the next sample look for the application, because it may have come back.
	again()
}
