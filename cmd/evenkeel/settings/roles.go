package settings

import (
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/hint"
)

// Role is a command that is started with a file.
type Role string

// The roles.
const (
	RoleRun    Role = "run"
	RoleMaster Role = "master"
	RoleEdge   Role = "edge"
	RoleAgent  Role = "agent"
)

// Roles lists all roles, in the order of the help.
var Roles = []Role{RoleRun, RoleMaster, RoleEdge, RoleAgent}

// ReadFor is Read for a role: its error is also that of a file that this role cannot start with.
func ReadFor(role Role, path string) (*Settings, error) {
	s, err := Read(path)
	if err != nil {
		return nil, err
	}
	if problem, advice := s.Unfit(role); problem != "" {
		return nil, hint.With(fmt.Errorf("%s %s", path, problem), advice)
	}
	return s, nil
}

// Unfit says why a role cannot start with the file, and what to do about it. The problem is empty if it can start. It is
// a clause about the file, such as `has no part "edge", which run needs`.
func (s *Settings) Unfit(role Role) (problem, advice string) {
	switch role {
	case RoleRun:
		switch {
		case s.Edge == nil:
			return s.lacks(role, "edge", "edge: { listeners: [{ listen: :8080, routes: [{ pool: web }] }] }")
		case s.Master != nil && s.Master.Election != nil:
			return "has master.election, but run is the only master of its edge", "start evenkeel master and evenkeel edge instead"
		case len(s.Pools) == 0 && (s.Master == nil || !s.Master.OpenPools):
			return s.lacks(role, "pools", "pools: { web: { servers: [{ address: 127.0.0.1:8000 }] } }")
		}
	case RoleMaster:
		if s.Master == nil && len(s.Pools) == 0 {
			return s.lacks(role, "master", "master: { listen: "+DefaultWire+" }")
		}
	case RoleEdge:
		if s.Edge == nil {
			return s.lacks(role, "edge", "edge: { masters: ["+DefaultWire+"], listeners: [{ listen: :8080, routes: [{ pool: web }] }] }")
		}
	case RoleAgent:
		if s.Agent == nil {
			return s.lacks(role, "agent", "agent: { masters: ["+DefaultWire+"], pool: web, address: 127.0.0.1:8000 }")
		}
	}
	return "", ""
}

// lacks is Unfit of a file without a part that a role needs. The advice names the roles that can start with the file.
func (s *Settings) lacks(role Role, part, example string) (problem, advice string) {
	advice = "such as\n         " + example
	if fit := s.partsFor(); len(fit) > 0 {
		advice = "it is for evenkeel " + strings.Join(fit, " and evenkeel ") + "; for " + string(role) + " add\n         " + example
	}
	return fmt.Sprintf("has no part %q, which %s needs", part, role), advice
}

// partsFor returns the roles that have a part in the file.
func (s *Settings) partsFor() (roles []string) {
	if s.Master != nil || len(s.Pools) > 0 {
		roles = append(roles, string(RoleMaster))
	}
	if s.Edge != nil {
		roles = append(roles, string(RoleEdge))
	}
	if s.Agent != nil {
		roles = append(roles, string(RoleAgent))
	}
	return roles
}
