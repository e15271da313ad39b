//go:build !linux

package main

import "fmt"

func main() { fmt.Println("real: the measurement needs Linux") }
