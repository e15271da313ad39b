package h2conn

// resetStreams are the streams of an HTTP/2 connection that we have reset lately. Their client may not know
// yet: DATA that it has sent meanwhile is no error, as long as it fits the stream's window. The zero value is
// empty and ready.
type resetStreams struct {
	list []resetStream // a ring once it is full
	next int
}

type resetStream struct {
	id        uint32
	remaining int64 // bytes of its body that may still come
}

// maxRecentResets is more than a client may have open at once.
const maxRecentResets = 128

// add takes a stream of whose body so many bytes may still come.
func (s *resetStreams) add(id uint32, window int64) {
	added := resetStream{id, max(0, window)}
	if len(s.list) < maxRecentResets {
		s.list = append(s.list, added)
		return
	}
	s.list[s.next] = added
	s.next = (s.next + 1) % maxRecentResets
}

// find returns a stream that was ended of late; nil: it was not.
func (s *resetStreams) find(id uint32) *resetStream {
	for i := range s.list {
		if s.list[i].id == id {
			return &s.list[i]
		}
	}
	return nil
}

// consume takes so many bytes that have come; false: they are more than could be on their way.
func (s *resetStream) consume(n int64) bool {
	s.remaining -= n
	return s.remaining >= 0
}
