// Package bodies keeps request bodies behind the buffer of their head. It does no I/O: its user reads and sends.
//
//   - A Store is what was read of a body before a server was asked for, so that a client that sends slowly holds no
//     server. It takes memory of a limits.BodyMemory, buffer by buffer, and keeps the bytes until the request needs to
//     be sent no more.
//   - A Copy is what has gone to a server of a body that was not stored, up to a bound, so that a server that has not
//     processed the request can be followed by another.
//   - Buffers are what one event loop has for both: free buffers, and the memory that all loops share.
//
// Bytes are kept as they go to the server, chunk sizes included. All of a Store, a Copy and Buffers belongs to one
// goroutine.
package bodies
