//go:build !race

package uring

const raced = false
