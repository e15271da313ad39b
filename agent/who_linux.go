package agent

// WhoListens returns the process that listens on a TCP port of this machine, if the system tells:
// its id, or 0, and what it is called.
func WhoListens(port uint16) (pid int, command string) {
	o := &owner{}
	var all []listening
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		all, _ = readListening(o.root+file, all) // what cannot be read is not told
	}
	var inodes []uint64
	for _, s := range all {
		if s.at.Port() == port {
			inodes = append(inodes, s.inode)
		}
	}
	if len(inodes) == 0 {
		return 0, ""
	}
	holders, _, err := o.search(inodes)
	if err != nil || len(holders) == 0 {
		return 0, ""
	}
	return holders[0].pid, o.command(holders[0].pid)
}
