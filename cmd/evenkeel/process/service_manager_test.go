package process

import (
	"testing"
	"time"
)

func TestTheWatchdogIsForOneProcess(t *testing.T) {
	for pid, want := range map[string]time.Duration{"": time.Second, "7": time.Second, "8": 0} {
		env := map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": pid}
		if m := serviceManagerFrom(func(name string) string { return env[name] }, 7); m.every != want {
			t.Errorf("for process %q: every %v, want %v", pid, m.every, want)
		}
	}
}
