// Package hint adds advice to errors. An error says what is wrong; its hint says what to do about it. A usage error is
// one of the command line, for which a command exits with 2.
//
// With adds advice and Of reads it back; errors.Is and errors.As see through both kinds.
package hint
