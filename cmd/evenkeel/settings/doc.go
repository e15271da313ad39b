// Package settings is the configuration file: its keys, how it is read and judged, and what it means to the rooms.
//
// Settings is a file as it was decoded, or what command-line flags say instead of one. Each part of it is a type with
// the keys as tags: Master, Pool, Server, Edge, Listener, Route, Agent, and those inside them. A part that is nil was
// not written. Zero values stand for the defaults of the rooms.
//
// Read does all of it: the config package parses the file, the parts are decoded, Validate asks every room about its
// own fields, and the files that the parts name (certificates, keys, tokens) are read. All problems are returned
// together, as a *config.Error with lines and columns. Starting, reloading and checking all call Read.
//
//	Read ─▶ Settings ─▶ MasterConfig, EdgeConfig, AgentConfig   (convert.go)
//	           └─▶ EdgeFiles, which the edge reloads when they change on disk   (certstore.go)
//
// Text forms of single values, such as "redirect" or "10.0.0.0/8", are in text.go. The addresses that a file listens
// on, and whether two of them conflict, are in addresses.go. The keys that take effect only at a start are in restart.go.
//
// The package opens no sockets and starts nothing, except that EdgeFiles.Watch looks at files until its context ends.
package settings
