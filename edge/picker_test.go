package edge

import "github.com/evenkeel-lb/evenkeel/client"

// What an Edge is given when the master is another process.
var (
	_ Picker    = (*client.Client)(nil)
	_ snapshots = (*client.Client)(nil)
	_ connected = (*client.Client)(nil)
)
