//go:build !linux

package main

import "fmt"

func main() { fmt.Println("chaos: the measurement needs Linux") }
