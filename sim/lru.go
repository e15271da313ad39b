package sim

// lru is a cache of keys: it keeps the size keys that were used last.
type lru struct {
	size  int
	kept  int
	nodes []lruNode // by key; the last is the ring's anchor
}

type lruNode struct {
	before, after int32
	in            bool
}

func newLRU(keys, size int) *lru {
	l := &lru{size: size, nodes: make([]lruNode, keys+1)}
	anchor := int32(keys)
	l.nodes[anchor] = lruNode{before: anchor, after: anchor}
	return l
}

// touch uses a key and reports whether it was there.
func (l *lru) touch(key int32) (hit bool) {
	hit = l.nodes[key].in
	anchor := int32(len(l.nodes) - 1)
	switch {
	case hit:
		l.unlink(key)
	case l.kept == l.size:
		oldest := l.nodes[anchor].before
		l.unlink(oldest)
		l.nodes[oldest].in = false
	default:
		l.kept++
	}
	first := l.nodes[anchor].after
	l.nodes[key] = lruNode{before: anchor, after: first, in: true}
	l.nodes[anchor].after, l.nodes[first].before = key, key
	return hit
}

func (l *lru) unlink(key int32) {
	n := l.nodes[key]
	l.nodes[n.before].after, l.nodes[n.after].before = n.after, n.before
}
