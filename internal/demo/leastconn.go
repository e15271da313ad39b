package demo

import (
	"io"
	"net/http"
	"net/http/httputil"
	"sync"
)

// LeastConn is a small proxy as people have them: each request goes to the server with
// the fewest requests of this proxy; of equals, to the one that got none for longest.
// It knows nothing of other proxies' requests. It is an http.RoundTripper of requests
// whose URL names any host.
type LeastConn struct {
	transport http.Transport

	mu      sync.Mutex
	servers []connCount // the least recently chosen first
}

type connCount struct {
	address string
	open    int
}

// NewLeastConn returns a handler that proxies to servers, each host:port.
func NewLeastConn(servers []string) http.Handler {
	l := &LeastConn{transport: http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true}}
	for _, address := range servers {
		l.servers = append(l.servers, connCount{address: address})
	}
	return &httputil.ReverseProxy{Transport: l, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host
	}}
}

// RoundTrip sends the request to the chosen server. The request is over when its
// response's body is closed.
func (l *LeastConn) RoundTrip(r *http.Request) (*http.Response, error) {
	address := l.choose()
	r.URL.Host = address
	resp, err := l.transport.RoundTrip(r)
	if err != nil {
		l.release(address)
		return nil, err
	}
	resp.Body = &countedBody{ReadCloser: resp.Body, closed: func() { l.release(address) }}
	return resp, nil
}

func (l *LeastConn) choose() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	best := 0
	for i, s := range l.servers {
		if s.open < l.servers[best].open {
			best = i
		}
	}
	chosen := l.servers[best]
	chosen.open++
	l.servers = append(append(l.servers[:best:best], l.servers[best+1:]...), chosen)
	return chosen.address
}

func (l *LeastConn) release(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.servers {
		if l.servers[i].address == address {
			l.servers[i].open--
		}
	}
}

// countedBody calls closed at the first Close.
type countedBody struct {
	io.ReadCloser
	once   sync.Once
	closed func()
}

func (b *countedBody) Close() error {
	b.once.Do(b.closed)
	return b.ReadCloser.Close()
}
