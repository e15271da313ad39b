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

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

// How the commands for operators find the processes of this machine: each role serves its
// admin address's pages on a socket in its runtime folder too, and says there what it is.

// found is a process of this machine.
type found struct {
	rundir.Found
	told process.Info
	err  error // why it has not answered; nil: it has
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

// ask fills in what the process reports about itself.
func (f *found) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, selfPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, socketBase+process.InfoPath, nil)
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
	f, err := find(ctx, at, (*found).hasMaster, "have a master")
	if err != nil {
		return nil, err
	}
	return f.withMaster()
}

// findProcess returns the process that at names; else the only one there is.
func findProcess(ctx context.Context, at string) (*found, error) {
	return find(ctx, at, func(*found) bool { return true }, "run")
}

// find returns the process that at names, or the only one that fits.
func find(ctx context.Context, at string, fits func(*found) bool, what string) (*found, error) {
	if strings.ContainsRune(at, '/') || strings.ContainsRune(at, os.PathSeparator) {
		f := found{Found: rundir.Found{Path: at, Name: at}}
		f.ask(ctx)
		if f.err != nil {
			return nil, fmt.Errorf("--at %s: no process answers: %w", at, f.err)
		}
		return &f, nil
	}
	all, looked := findAll(ctx)
	if at == "" {
		fitting := slices.DeleteFunc(slices.Clone(all), func(f found) bool { return !fits(&f) })
		switch len(fitting) {
		case 0:
			return nil, noMaster(all, looked)
		case 1:
			return &fitting[0], nil
		}
		return nil, hint.Usagef("such as --at "+fitting[0].Name, "%d processes here %s, and nothing was done: which one?\n%s", len(fitting), what, table(fitting))
	}
	named := slices.DeleteFunc(slices.Clone(all), func(f found) bool { return !f.isCalled(at) })
	switch {
	case len(named) == 1:
		return &named[0], nil
	case len(named) > 1:
		return nil, hint.Usagef("such as --at "+named[0].Path, "--at %s: %d processes here are called so\n%s", at, len(named), table(named))
	case len(all) == 0:
		return nil, noMaster(all, looked)
	}
	return nil, hint.Usagef("--at takes a name, an id, a process id or the path of a socket", "--at %s: there is no such process here, but\n%s", at, table(all))
}

// findSuccessor returns the process that has taken over from another, nil if there is none.
func findSuccessor(ctx context.Context, pid int) *found {
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
	return nil, hint.With(fmt.Errorf("%s has no master%s", f.Name, f.whoToAsk()), "--admin names the admin address of a master, such as http://"+settings.DefaultMasterAdmin)
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
		return hint.With(errors.New(text), "use sudo, if it runs as another user; else evenkeel run or evenkeel master starts one, and --admin asks one elsewhere")
	}
	return hint.With(errors.New(text), "evenkeel run or evenkeel master starts one; --admin asks one elsewhere, such as --admin http://"+settings.DefaultMasterAdmin)
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
