package config

// Value is a scalar of a file.
type Value struct {
	Path string // such as pools.web.servers[0].slots
	Text string // as the file has it: variables of the environment by their names
	Position
	Environment bool // the text names variables of the environment
}

// Values returns all scalars of the file, in its order. What an alias or a merge key repeats stands where it is used.
func (f *File) Values() (all []Value) {
	if f.root != nil {
		f.root.values("", &all)
	}
	return all
}

func (n *node) values(path string, all *[]Value) {
	switch n.kind {
	case scalar:
		v := Value{Path: path, Text: n.text, Position: n.at}
		if n.written != "" {
			v.Text, v.Environment = n.written, true
		}
		*all = append(*all, v)
	case list:
		for i, item := range n.items {
			item.values(Item(path, i), all)
		}
	case mapping:
		for i := range n.entries {
			e := &n.entries[i]
			if n.find(e.key) == e {
				e.value.values(Field(path, e.key), all)
			}
		}
	}
}
