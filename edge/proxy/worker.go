package proxy

import (
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/edge/bodies"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
)

// worker is a loop with what the edge's connections of that loop share. The loop goroutine owns it, except for
// clientConns.
type worker struct {
	eventloop.Loop
	exchange.LoopStats
	engine  *Engine
	headBuf []byte // a head being written; valid until the next one
	trimmer memoryTrimmer

	// Free, for later requests.
	freeRequests   []*request
	freeAsyncPicks []*asyncPick
	idlePicks      []*blockingPick

	masterConns    []*masterConn
	awaitingMemory []*clientConn // clients whose request bodies wait for memory
	servers        upstream.Pool
	bodies         bodies.Buffers

	// HTTP/2.
	h2          h2conn.Shared
	freeStreams []*clientStream // free, for later streams

	clientConns atomic.Int64 // including those on their way to the loop
}

const (
	readSize        = 64 << 10 // bytes of one read
	maxFreeRequests = 256      // kept for later requests
	maxHeadBuf      = 64 << 10 // larger buffers are not kept
)

func newWorker(e *Engine) (*worker, error) {
	l := &worker{engine: e, headBuf: make([]byte, 0, 4<<10)}
	l.h2.Loop = &l.Loop
	l.bodies.Memory, l.bodies.Waiter = e.cfg.Bodies, l
	l.servers.Init(&l.Loop, &l.h2, &e.dialer)
	l.trimmer.worker, l.trimmer.Owner = l, &l.trimmer
	cfg := eventloop.Config{NewBatch: e.newBatch, MaxTurn: e.cfg.MaxTurn, ReadSize: exchange.HeadSpace + readSize, AlwaysBatch: e.cfg.AlwaysBatch}
	if err := l.Init(cfg, l); err != nil {
		return nil, err
	}
	return l, nil
}

// EndTurn implements eventloop.User.
func (l *worker) EndTurn() {
	l.h2.Flush()
	if d := l.engine.polled; d != nil {
		d.Flush(l.Now, l.HasWork())
	}
}

// CloseAll implements eventloop.User. No client is left.
func (l *worker) CloseAll() {
	l.servers.Close()
	for _, a := range l.idlePicks {
		close(a.next)
	}
	for _, w := range l.masterConns {
		w.close()
	}
}

// takeRequest returns a free request.
func (l *worker) takeRequest() *request {
	if n := len(l.freeRequests); n > 0 {
		t := l.freeRequests[n-1]
		l.freeRequests = l.freeRequests[:n-1]
		return t
	}
	t := new(request)
	t.Exchange.Loop, t.Exchange.Clock = &l.LoopStats, &l.Now
	return t
}

// putRequest frees a request.
func (l *worker) putRequest(t *request) {
	if len(l.freeRequests) == maxFreeRequests {
		l.Timers.Stop(&t.progress.Timer)
		l.trimmer.noteDropped()
		return
	}
	t.recycle()
	l.freeRequests = append(l.freeRequests, t)
}
