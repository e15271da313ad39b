package edge

// struckStreams are the streams of a connection of HTTP/2 that we have ended of late. Their client
// may not know yet: what it has sent of their bodies until then is no fault, and takes no more of the
// connection's window than the stream had. The zero value is empty and ready.
type struckStreams struct {
	list []struckStream // a ring once it is full
	next int
}

type struckStream struct {
	id   uint32
	left int64 // bytes of its body that may still come
}

// mostStruck is more than a client may have open at once.
const mostStruck = 128

// add takes a stream of whose body so many bytes may still come.
func (s *struckStreams) add(id uint32, window int64) {
	added := struckStream{id, max(0, window)}
	if len(s.list) < mostStruck {
		s.list = append(s.list, added)
		return
	}
	s.list[s.next] = added
	s.next = (s.next + 1) % mostStruck
}

// find returns a stream that was ended of late; nil: it was not.
func (s *struckStreams) find(id uint32) *struckStream {
	for i := range s.list {
		if s.list[i].id == id {
			return &s.list[i]
		}
	}
	return nil
}

// take takes so many bytes that have come; false: they are more than could be on their way.
func (s *struckStream) take(n int64) bool {
	s.left -= n
	return s.left >= 0
}
