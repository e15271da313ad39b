package station

// task is one request: in work, end is the reading of the work clock at which it
// finishes; waiting, it is the work itself.
type task struct {
	job uint64
	end float64
	seq uint64 // order of arrival, which breaks ties
}

func (t task) before(u task) bool { return t.end < u.end || t.end == u.end && t.seq < u.seq }

// byEnd is a binary heap, written out because container/heap would box every task.
type byEnd []task

func (h *byEnd) push(t task) {
	*h = append(*h, t)
	h.up(len(*h) - 1)
}

// remove takes out the task at i; the first is at 0.
func (h *byEnd) remove(i int) task {
	old := *h
	t, last := old[i], len(old)-1
	old[i] = old[last]
	*h = old[:last]
	if i < last {
		h.down(i)
		h.up(i)
	}
	return t
}

func (h byEnd) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (h byEnd) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if right := child + 1; right < len(h) && h[right].before(h[child]) {
			child = right
		}
		if !h[child].before(h[i]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// ring is a first-in-first-out queue that reuses its room.
type ring struct {
	tasks []task // a power of two long
	head  int
	count int
}

func (r *ring) len() int { return r.count }

func (r *ring) at(i int) *task { return &r.tasks[(r.head+i)&(len(r.tasks)-1)] }

func (r *ring) push(t task) {
	if r.count == len(r.tasks) {
		grown := make([]task, max(8, 2*len(r.tasks)))
		for i := range r.count {
			grown[i] = *r.at(i)
		}
		r.tasks, r.head = grown, 0
	}
	r.count++
	*r.at(r.count - 1) = t
}

func (r *ring) pop() task {
	t := *r.at(0)
	r.head = (r.head + 1) & (len(r.tasks) - 1)
	r.count--
	return t
}

// remove takes out the first task of that job, wherever it stands.
func (r *ring) remove(job uint64) bool {
	for i := range r.count {
		if r.at(i).job != job {
			continue
		}
		for ; i < r.count-1; i++ {
			*r.at(i) = *r.at(i + 1)
		}
		r.count--
		return true
	}
	return false
}
