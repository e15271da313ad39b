package eventloop

import "sync"

// Message is what another goroutine posts to a loop. Its Deliver runs on the loop goroutine.
type Message interface{ Deliver() }

// call is a message that is a function.
type call func()

func (f call) Deliver() { f() }

// mailbox is the messages that other goroutines post to a loop.
type mailbox struct {
	delivering []Message // the loop's own

	mu     sync.Mutex
	posted []Message
	asleep bool // a message has to wake the loop
	closed bool // posted messages are dropped
}

// Post adds a message, which the loop delivers before it next sleeps. It returns false if the loop has ended.
// Any goroutine may call it.
func (l *Loop) Post(m Message) bool {
	b := &l.mailbox
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.posted = append(b.posted, m)
	if b.asleep {
		b.asleep = false
		l.wakeConn.FD.Ring()
	}
	return true
}

// Call posts a function.
func (l *Loop) Call(f func()) bool { return l.Post(call(f)) }

// OnReady implements the wake connection's owner. Messages are delivered later in the iteration.
func (l *Loop) OnReady() {
	l.wakeConn.FD.Silence()
	l.wakeConn.Readable = false
}

// runMessages delivers the posted messages.
func (l *Loop) runMessages() {
	b := &l.mailbox
	b.mu.Lock()
	b.delivering, b.posted = b.posted, b.delivering[:0]
	b.mu.Unlock()
	l.batching = l.batching || len(b.delivering) > l.batchThreshold
	for i, m := range b.delivering {
		m.Deliver()
		b.delivering[i] = nil
	}
}

// prepareSleep announces that the loop is about to sleep. It returns false if there is a message.
func (b *mailbox) prepareSleep() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep = len(b.posted) == 0
	return b.asleep
}

func (b *mailbox) endSleep() {
	b.mu.Lock()
	b.asleep = false
	b.mu.Unlock()
}

// close drops later messages and delivers the functions that are left, for whose end their posters wait. Other
// messages were for connections, of which none is left.
func (b *mailbox) close() {
	b.mu.Lock()
	b.closed = true
	left := b.posted
	b.posted = nil
	b.mu.Unlock()
	for _, m := range left {
		if f, ok := m.(call); ok {
			f()
		}
	}
}
