// Package trial is what the processes of bench/ask have in common: how one tells the
// other what to measure, how it is measured, and how results of many slices are put
// together. The processes speak JSON over standard input and output, one value after
// the other.
package trial
