// Package user has tests by which mutants of the package example are killed, and one that fails without any.
package user
