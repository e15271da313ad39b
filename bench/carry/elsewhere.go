//go:build !linux

package main

import "fmt"

func main() { fmt.Println("carry: the measurement needs Linux") }
