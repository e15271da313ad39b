// Package failing has tests that tell nothing of mutants.
package failing
