package routing

import (
	"errors"

	"github.com/evenkeel-lb/evenkeel/preface"
)

var errLongHello = errors.New("a ClientHello longer than header_limit")

// ServerName finds the server name in the first bytes, once they suffice. Without TLS there is none.
func (l *BoundListener) ServerName(early []byte) (name string, known bool, err error) {
	name, whole, err := preface.ServerName(early)
	switch {
	case err == preface.ErrNoTLS:
		return "", true, nil
	case !whole && err == nil && len(early) >= l.HeaderLimit:
		return "", false, errLongHello
	}
	return name, whole, err
}
