package proc

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// start runs a command that the kernel kills with its parent. It kills when the parent
// *thread* ends, so all children come from one thread that never does.
func start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	job := job{cmd, make(chan error)}
	starter() <- job
	return <-job.err
}

type job struct {
	cmd *exec.Cmd
	err chan error
}

var starter = sync.OnceValue(func() chan<- job {
	jobs := make(chan job)
	go func() {
		runtime.LockOSThread()
		for j := range jobs {
			j.err <- j.cmd.Start()
		}
	}()
	return jobs
})
