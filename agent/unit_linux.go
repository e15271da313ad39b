package agent

import (
	"path"
	"strings"
)

// What counts as the application's control group. It is decided here by names alone.

// unit returns the group that is treated as the application's: the one that systemd or a container's runtime
// made for it, which is the nearest around the group that is a service or a scope, or else the group itself.
// An application may divide what it was given among groups of its own.
func unit(group string) string {
	for g := group; len(g) > 1; g = path.Dir(g) {
		if strings.HasSuffix(g, ".service") || strings.HasSuffix(g, ".scope") {
			return g
		}
	}
	return group
}

// sharedUnit says why a group is not one application's, or "". isRoot tells that "/" is the
// group of the whole machine and not of a container.
func sharedUnit(group string, isRoot bool) string {
	name := path.Base(group)
	switch {
	case group == "/" && isRoot:
		return "it is in the root control group, with everything that has none of its own"
	case strings.HasSuffix(name, ".slice"):
		return "its control group " + short(group) + " is a slice, with whatever else is in there"
	case name == "init.scope", strings.HasPrefix(name, "user@") && strings.HasSuffix(name, ".service"):
		return "its control group " + short(group) + " is the service manager's"
	case strings.HasPrefix(name, "session-") && strings.HasSuffix(name, ".scope"):
		return "its control group " + short(group) + " is a login session, with whatever else was started in it"
	}
	return ""
}

// forwarders are programs that listen for an application in another control group.
var forwarders = []string{"docker-proxy", "rootlesskit", "rootlessport", "slirp4netns", "pasta", "passt", "gvproxy", "systemd"}

// short is a group as people write it: app.slice/x.service.
func short(group string) string {
	if group == "/" {
		return group
	}
	return strings.TrimPrefix(group, "/")
}
