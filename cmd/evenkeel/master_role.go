package main

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"slices"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"

	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/master"
)

// masterRole is a master that is about to serve, and what belongs to it in its process, whether an edge is there too or not.
type masterRole struct {
	*master.Master
	at        insideAddresses
	listeners insideListeners
	enrolment *master.Enrolment // nil: it signs no certificates
	election  *candidacy        // nil: it is the only master
}

// openMaster opens the listeners of a master and makes it. They are closed again if that fails.
func (st *startup) openMaster(ctx context.Context, s *settings.Settings, at insideAddresses) (*masterRole, error) {
	at.proven, at.adminProven, at.insecure = st.keeper != nil, st.access.Secure(), st.insecure
	listeners, err := openInside(ctx, at, st.log)
	if err != nil {
		return nil, err
	}
	r := &masterRole{at: at, listeners: listeners}
	if err := st.makeMaster(r, s); err != nil {
		listeners.close()
		return nil, err
	}
	return r, nil
}

// makeMaster makes what serves at r's listeners.
func (st *startup) makeMaster(r *masterRole, s *settings.Settings) (err error) {
	if r.election, err = openCandidacy(s.Master.Election, s.Master.ID, process.Address(r.listeners.wire)); err != nil {
		return err
	}
	if r.enrolment, err = openEnrolment(s.Master.Enrol, st.keeper, r.election.shared(), st.access.Audit, st.log); err != nil {
		return err
	}
	mc := s.MasterConfig()
	mc.Log, mc.LogDropped, mc.Trust, mc.Enrolment, mc.ReloadFailed = st.log, st.dropped, st.keeper, r.enrolment, st.failing.Failure
	mc.Inside = new(inside.Set)
	mc.Inside.AddOwn(r.listeners.wire, r.listeners.admin)
	if r.listeners.admin != nil {
		mc.Admin = process.Address(r.listeners.admin)
	}
	r.Master, err = master.New(mc)
	return err
}

// components are what runs of the master in process p: its listeners stop before its timers.
func (r *masterRole) components(p *process.Process) []process.Component {
	parts := r.election.stand(r.Master, p.Log)
	if l := r.listeners.wire; l != nil {
		parts = append(parts, process.Component{Name: "master", SharesConnections: true, Run: func(ctx context.Context) error { return r.Serve(ctx, l) }})
	}
	parts = append(parts, p.Access.Components(p, r.listeners.admin, true, process.MasterAddressHint(r.listeners.wire))...)
	parts = append(parts, process.Component{Name: "master", Run: r.Run})
	return slices.Concat(parts, certificateComponents(p.Trust), issuerComponents(r.enrolment))
}

// insideAddresses are where our own components and operators connect.
type insideAddresses struct {
	wire        string // empty: nowhere
	wireKey     string // the flag that has it; empty: the file's master.listen
	admin       process.AdminAddress
	proven      bool // peers that connect to wire prove who they are
	adminProven bool // and so do callers of admin
	insecure    bool
}

type insideListeners struct{ wire, admin net.Listener } // nil: none

// sockets are the listeners, by the addresses that were asked for.
func (l insideListeners) sockets(at insideAddresses) (all []process.InheritedSocket) {
	if l.wire != nil {
		all = append(all, process.InheritedSocket{Name: at.wire, Listener: l.wire})
	}
	if l.admin != nil {
		all = append(all, process.InheritedSocket{Name: at.admin.Address, Listener: l.admin})
	}
	return all
}

// close gives up listeners of a start that failed half way.
func (l insideListeners) close() { process.CloseAll([]net.Listener{l.wire, l.admin}) }

func openInside(ctx context.Context, at insideAddresses, log *slog.Logger) (l insideListeners, err error) {
	if at.wire != "" {
		if l.wire, err = process.ListenInternal(ctx, at.wire, at.proven || at.insecure, settings.PlainAdvice); err != nil {
			return l, process.ForKey(cmp.Or(at.wireKey, "master.listen"), err)
		}
	}
	if l.admin, err = at.admin.Listen(ctx, at.adminProven || at.insecure, log); err != nil {
		l.close()
	}
	return l, err
}
