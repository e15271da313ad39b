package config

import (
	"fmt"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

type kind uint8

const (
	null kind = iota
	scalar
	list
	mapping
	broken // already a problem; nothing more is to be said of it
)

// node is a value of the file. Aliases share the node of their anchor.
type node struct {
	kind    kind
	at      Position
	text    string // scalar: as written, quotes and escapes resolved
	quoted  bool   // scalar: it can only be text
	written string // scalar: text before the environment was put in; empty: it has none
	items   []*node
	entries []entry // in order; keys may stand twice
}

// entry is a key of a mapping and its value.
type entry struct {
	key    string
	at     Position
	value  *node
	merged bool // by <<, so a key of the mapping itself goes before it
}

// step returns what stands at one step of a path, and the position to show for it.
func (n *node) step(step string) (*node, Position, bool) {
	if n.kind == list && isItem(step) {
		i, err := strconv.Atoi(step[1 : len(step)-1])
		if err != nil || i < 0 || i >= len(n.items) {
			return nil, Position{}, false
		}
		return n.items[i], n.items[i].at, true
	}
	e := n.find(step)
	if e == nil {
		return nil, Position{}, false
	}
	if e.value.kind == scalar {
		return e.value, e.value.at, true
	}
	return e.value, e.at, true
}

// find returns the entry that counts for a key, or nil.
func (n *node) find(key string) *entry {
	var found *entry
	for i := range n.entries {
		if e := &n.entries[i]; e.key == key && (found == nil || found.merged && !e.merged) {
			found = e
		}
	}
	return found
}

// builder makes nodes of the library's.
type builder struct {
	f       *File
	anchors map[string]*node
}

const tooGrown = "aliases make more of this file than can be meant"

// grow counts values that aliases may have multiplied, and reports whether that is enough.
func (f *File) grow(n int) bool {
	f.grown += n
	return f.grown > mostGrowth*f.written+freeGrowth
}

func (f *File) build(file *ast.File) {
	if file == nil {
		return
	}
	b := &builder{f: f, anchors: make(map[string]*node)}
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case f.root != nil:
			f.add(Problem{Position: b.position(doc.Body), Text: "a second document starts here: one file has one"})
			return
		default:
			f.root = b.node(doc.Body)
		}
	}
}

// node makes a node; what cannot be one is filed and becomes broken.
func (b *builder) node(from ast.Node) *node {
	n := b.plainNode(from)
	if _, isAlias := from.(*ast.AliasNode); !isAlias && n.written == "" {
		b.f.expand(n)
	}
	return n
}

// plainNode makes a node as it is written.
func (b *builder) plainNode(from ast.Node) *node {
	at := b.position(from)
	b.f.written++
	switch from := from.(type) {
	case nil:
		return &node{at: at}
	case *ast.AnchorNode:
		n := b.node(from.Value)
		b.anchors[from.Name.GetToken().Value] = n
		return n
	case *ast.AliasNode:
		return b.alias(from, at)
	case *ast.MappingNode:
		n := &node{kind: mapping, at: at}
		for _, v := range from.Values {
			b.entry(n, v)
		}
		return n
	case *ast.MappingValueNode:
		n := &node{kind: mapping, at: at}
		b.entry(n, from)
		return n
	case *ast.SequenceNode:
		n := &node{kind: list, at: at}
		for _, v := range from.Values {
			n.items = append(n.items, b.node(v))
		}
		return n
	case *ast.NullNode:
		return &node{at: at}
	case *ast.LiteralNode:
		return &node{kind: scalar, at: at, text: from.Value.Value, quoted: true}
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		tk := from.GetToken()
		return &node{kind: scalar, at: at, text: tk.Value, quoted: !plain(tk)}
	}
	b.f.add(Problem{Position: at, Text: "want text, a number, a list or a map here"})
	return &node{kind: broken, at: at}
}

func (b *builder) alias(from *ast.AliasNode, at Position) *node {
	name := from.Value.GetToken().Value
	n, ok := b.anchors[name]
	if !ok {
		b.f.add(Problem{Position: at, Text: fmt.Sprintf("alias *%s: nothing above has the anchor &%s", name, name),
			Hint: "put text that starts with * in quotes"})
		return &node{kind: broken, at: at}
	}
	return n
}

func (b *builder) entry(n *node, from *ast.MappingValueNode) {
	value := b.node(from.Value)
	at := b.position(from.Key)
	if _, ok := from.Key.(*ast.MergeKeyNode); ok {
		b.merge(n, value, at)
		return
	}
	var key string
	switch from.Key.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		key = from.Key.GetToken().Value
	default:
		b.f.add(Problem{Position: at, Text: "a key must be a plain word"})
		return
	}
	if len(n.entries) == 0 && n.at.Column > at.Column {
		n.at = at
	}
	n.entries = append(n.entries, entry{key: key, at: at, value: value})
}

// merge adds the entries of what << names to a mapping, behind its own.
func (b *builder) merge(n, from *node, at Position) {
	switch from.kind {
	case list:
		for _, item := range from.items {
			b.merge(n, item, at)
		}
	case mapping:
		if b.f.grow(len(from.entries)) {
			b.f.add(Problem{Position: at, Text: tooGrown})
			return
		}
		for _, e := range from.entries {
			e.merged = true
			n.entries = append(n.entries, e)
		}
	case broken:
	default:
		b.f.add(Problem{Position: at, Text: "<<: want the alias of a map"})
	}
}

// position returns where a node starts; a mapping in lines starts with its first key.
func (b *builder) position(n ast.Node) Position {
	switch of := n.(type) {
	case nil:
		return Position{1, 1}
	case *ast.MappingNode:
		if !of.IsFlowStyle && len(of.Values) > 0 {
			return b.position(of.Values[0])
		}
	case *ast.MappingValueNode:
		return b.position(of.Key)
	case *ast.AnchorNode:
		return b.position(of.Value)
	}
	tk := n.GetToken()
	if tk == nil {
		return Position{1, 1}
	}
	return b.f.clamp(tk.Position)
}
