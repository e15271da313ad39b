//go:build !linux

package main

import "fmt"

func main() { fmt.Println("choose: the measurement needs Linux") }
