//go:build unix && (!linux || evenkeel_portable)

package fd

// canBorrow is set if a connection's descriptor can be had, and asked.
const canBorrow = true
