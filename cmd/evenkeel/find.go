package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

// How the commands for operators find the processes of this machine: each role serves its
// admin address's pages on a socket in its runtime folder too, and says there what it is.

// selfPath is where a process says what it is, on its socket only.
const selfPath = "/process"

// processTold is what a process says of itself.
type processTold struct {
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

// self is what p says, taken from the record that says it serves.
func (p *process) self() processTold {
	t := processTold{PID: os.Getpid(), Version: version(), Started: time.Now()}
	if generation() > 0 {
		t.After = firstParent
	}
	for i := 0; i+1 < len(p.serving); i += 2 {
		switch value := p.serving[i+1]; p.serving[i] {
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
func (p *process) openSocket() (hide func()) {
	if p.admin == nil {
		return func() {}
	}
	p.told = p.self()
	s, err := rundir.Listen(p.told.Role)
	if err != nil {
		p.log.Warn("going on without a socket in a runtime folder: the commands on this machine find this process by --admin only; "+rundir.Env+" names another folder", "err", err)
	}
	if s == nil {
		return func() {}
	}
	p.parts = append(p.parts, part{name: "socket", shared: true, run: func(ctx context.Context) error { return p.admin.Serve(ctx, s) }},
		part{name: "socket", run: s.Keep})
	return s.Remove
}

// found is a process of this machine.
type found struct {
	rundir.Found
	told processTold
	err  error // why it has told nothing; nil: it has
}

// hasMaster reports whether a process has a master's API, by the name of its socket if it does not say.
func (f *found) hasMaster() bool {
	role := cmp.Or(f.told.Role, f.Role)
	return role == "run" || role == "master"
}

func (f *found) isCalled(name string) bool {
	return name == f.Name || name == f.Name+".sock" || name == strconv.Itoa(f.PID) || name == f.told.ID
}

// roundTripper makes its requests to the process's socket.
func (f *found) roundTripper() http.RoundTripper {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", f.Path)
	}}
}

// selfPatience is how long a process may take to say what it is.
const selfPatience = time.Second

// ask fills in what the process tells of itself.
func (f *found) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, selfPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, socketBase+selfPath, nil)
	if err != nil {
		f.err = err
		return
	}
	res, err := f.roundTripper().RoundTrip(req)
	if err != nil {
		f.err = err
		return
	}
	defer func() { _ = res.Body.Close() }()
	f.err = json.NewDecoder(http.MaxBytesReader(nil, res.Body, 1<<20)).Decode(&f.told)
}

// findAll returns the living processes that this user can reach, in the order of their names, and where it looked.
func findAll(ctx context.Context) (all []found, looked []rundir.Looked) {
	sockets, looked := rundir.Look(ctx)
	all = make([]found, len(sockets))
	var asking sync.WaitGroup
	for i, s := range sockets {
		asking.Go(func() {
			all[i].Found = s
			all[i].ask(ctx)
		})
	}
	asking.Wait()
	return all, looked
}

// findMaster returns the process that at names, by its name, id, process id or socket; else the only one that
// has a master. If it cannot be but one it returns an error with those there are.
func findMaster(ctx context.Context, at string) (*found, error) {
	if strings.ContainsRune(at, '/') || strings.ContainsRune(at, os.PathSeparator) {
		f := found{Found: rundir.Found{Path: at, Name: at}}
		f.ask(ctx)
		if f.err != nil {
			return nil, fmt.Errorf("--at %s: no process answers: %w", at, f.err)
		}
		return f.withMaster()
	}
	all, looked := findAll(ctx)
	if at == "" {
		masters := slices.DeleteFunc(slices.Clone(all), func(f found) bool { return !f.hasMaster() })
		switch len(masters) {
		case 0:
			return nil, noMaster(all, looked)
		case 1:
			return &masters[0], nil
		}
		return nil, usagef("such as --at "+masters[0].Name, "%d processes here have a master, and nothing was done: which one?\n%s", len(masters), table(masters))
	}
	named := slices.DeleteFunc(slices.Clone(all), func(f found) bool { return !f.isCalled(at) })
	switch {
	case len(named) == 1:
		return named[0].withMaster()
	case len(named) > 1:
		return nil, usagef("such as --at "+named[0].Path, "--at %s: %d processes here are called so\n%s", at, len(named), table(named))
	case len(all) == 0:
		return nil, noMaster(all, looked)
	}
	return nil, usagef("--at takes a name, an id, a process id or the path of a socket", "--at %s: there is no such process here, but\n%s", at, table(all))
}

// findHeir returns the process that has taken over from another, nil if there is none.
func findHeir(ctx context.Context, pid int) *found {
	all, _ := findAll(ctx)
	for i, f := range all {
		if pid != 0 && f.told.After == pid {
			return &all[i]
		}
	}
	return nil
}

// withMaster returns f if it can be asked as a master.
func (f *found) withMaster() (*found, error) {
	if f.hasMaster() {
		return f, nil
	}
	return nil, hinted(fmt.Errorf("%s has no master%s", f.Name, f.whoToAsk()), "--admin names the admin address of a master, such as http://"+defaultMasterAdmin)
}

// whoToAsk says which masters an edge or agent asks.
func (f *found) whoToAsk() string {
	if len(f.told.Masters) == 0 {
		return ""
	}
	return fmt.Sprintf(": it is an %s and asks the master at %s", f.told.Role, strings.Join(f.told.Masters, " or "))
}

func noMaster(others []found, looked []rundir.Looked) error {
	var where, closed []string
	for _, l := range looked {
		if errors.Is(l.Err, fs.ErrPermission) {
			closed = append(closed, l.Folder)
			where = append(where, l.Folder+" (another user's: this one may not look into it)")
		} else if l.Err != nil {
			where = append(where, l.Err.Error()) // it names the folder
		} else {
			where = append(where, l.Folder)
		}
	}
	text := "no process here has a master; looked in " + strings.Join(where, ", ")
	if closed != nil {
		text = "no process of this user has a master; looked in " + strings.Join(where, ", ")
	}
	if where == nil {
		text = "processes here are not looked for, as " + rundir.Env + " is " + rundir.Off
	}
	for _, f := range others {
		text += "\n" + f.Name + " has none" + f.whoToAsk()
	}
	if closed != nil {
		return hinted(errors.New(text), "use sudo, if it runs as another user; else evenkeel run or evenkeel master starts one, and --admin asks one elsewhere")
	}
	return hinted(errors.New(text), "evenkeel run or evenkeel master starts one; --admin asks one elsewhere, such as --admin http://"+defaultMasterAdmin)
}

// table lists processes for people.
func table(all []found) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "name\tid\tpid\tadmin\tlistens at\tup")
	for _, f := range all {
		if f.err != nil {
			fmt.Fprintf(w, "%s\t?\t%d\tdoes not answer\t\t\n", f.Name, f.PID)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", f.Name, f.told.ID, f.told.PID, f.told.Admin, f.told.Listen, forSeconds(time.Since(f.told.Started).Seconds()))
	}
	_ = w.Flush() // a builder takes all
	return strings.TrimSuffix(b.String(), "\n")
}
