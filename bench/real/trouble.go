//go:build linux

package main

import (
	"os/exec"
	"time"
)

// phase is a part of the run with trouble: what happens at its beginning, and how long it lasts.
type phase struct {
	name   string
	length time.Duration
	begin  func(t *trouble) error
}

// trouble is what the phases do to the services.
type trouble struct {
	services map[string]*service
	system   *system
	burners  []*exec.Cmd
}

// phases in their order. The services begin without e, which joins at the end.
var phases = []phase{
	{"calm", 20 * time.Second, nil},
	{"quota halved", 30 * time.Second, func(t *trouble) error { return t.services["a"].group.Set(t.services["a"].quota / 2) }},
	{"quota back", 15 * time.Second, func(t *trouble) error { return t.services["a"].group.Set(t.services["a"].quota) }},
	{"a cron job inside", 25 * time.Second, func(t *trouble) error { return t.burn(t.services["a"]) }},
	{"a cron job outside", 20 * time.Second, func(t *trouble) error {
		if err := t.quench(); err != nil {
			return err
		}
		return t.burn(nil)
	}},
	{"killed", 10 * time.Second, func(t *trouble) error {
		if err := t.quench(); err != nil {
			return err
		}
		return t.services["c"].kill()
	}},
	{"restarted", 20 * time.Second, func(t *trouble) error { return t.services["c"].start() }},
	{"a fifth joins", 30 * time.Second, func(t *trouble) error {
		if err := t.services["e"].start(); err != nil {
			return err
		}
		return t.system.join(t.services["e"], nil)
	}},
}

// burn has a process use all the CPU that it gets, within a service's control group or, nil, outside of all.
func (t *trouble) burn(s *service) error {
	argv := []string{"/bin/sh", "-c", "while :; do :; done"}
	cmd := exec.Command(argv[0], argv[1:]...)
	if s != nil {
		cmd = s.group.Command(argv[0], argv[1:]...)
	}
	cmd.SysProcAttr = diesWithUs()
	if err := cmd.Start(); err != nil {
		return err
	}
	t.burners = append(t.burners, cmd)
	return nil
}

// quench ends what burns.
func (t *trouble) quench() error {
	for _, cmd := range t.burners {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		_ = cmd.Wait() // it was killed
	}
	t.burners = nil
	return nil
}

// play runs the phases, each at its time, and sends the first error, or nil at the end, to failed.
func (t *trouble) play(start time.Time, scale float64, failed chan<- error) {
	at := start
	for _, p := range phases {
		time.Sleep(time.Until(at))
		if p.begin != nil {
			if err := p.begin(t); err != nil {
				failed <- err
				return
			}
		}
		at = at.Add(scaled(p.length, scale))
	}
	failed <- nil
}

func scaled(d time.Duration, scale float64) time.Duration {
	return time.Duration(float64(d) * scale)
}

// troubleLength is how long all phases take.
func troubleLength(scale float64) (all time.Duration) {
	for _, p := range phases {
		all += scaled(p.length, scale)
	}
	return all
}

// restore brings the services back to where the phases began.
func (t *trouble) restore() error {
	if err := t.quench(); err != nil {
		return err
	}
	if err := t.services["a"].group.Set(t.services["a"].quota); err != nil {
		return err
	}
	if err := t.services["c"].kill(); err != nil {
		return err
	}
	if err := t.services["c"].start(); err != nil {
		return err
	}
	return t.services["e"].kill()
}
