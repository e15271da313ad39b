package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	mostBytes   = 4 << 20
	mostNesting = 64       // brackets in brackets
	longestLine = 64 << 10 // what the library's lexer takes is quadratic in it
	widest      = 256      // column at which a key or a list item may start, so nesting by indentation is bounded
	mostGrowth  = 10       // times the values written, with every alias written out
	freeGrowth  = 10_000   // number of values up to which growth is not limited
)

// read fills root, or files the problem that makes the bytes unreadable.
func (f *File) read(src []byte) {
	if len(src) > mostBytes {
		f.add(Problem{Text: fmt.Sprintf("%d bytes are more than a file of settings has: the most is %d", len(src), mostBytes)})
		return
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	src = bytes.ReplaceAll(bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	f.lines = strings.Split(string(src), "\n")
	if !f.readable() {
		return
	}
	file, err := f.parse(string(src))
	if err != nil {
		f.syntax(err)
		return
	}
	f.build(file)
}

// readable files the first line that is too long, or character that cannot be text.
func (f *File) readable() bool {
	for i, line := range f.lines {
		if len(line) > longestLine {
			f.add(Problem{Position: Position{Line: i + 1}, Text: fmt.Sprintf("%d bytes in one line: the most is %d", len(line), longestLine)})
			return false
		}
		for at, r := range line {
			column := utf8.RuneCountInString(line[:at]) + 1
			_, size := utf8.DecodeRuneInString(line[at:])
			switch {
			case r == utf8.RuneError && size == 1:
				f.add(Problem{Position: Position{i + 1, column}, Text: fmt.Sprintf("byte %#02x is no UTF-8 text", line[at])})
				return false
			case r < ' ' && r != '\t' || r == 0x7f:
				f.add(Problem{Position: Position{i + 1, column}, Text: fmt.Sprintf("character %U is no text", r)})
				return false
			}
		}
	}
	return true
}

// parse runs the YAML library, whose panics on some malformed input are errors here.
func (f *File) parse(src string) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, errors.New("this is not YAML")
		}
	}()
	tokens := lexer.Tokenize(src)
	if !f.screen(tokens) {
		return nil, nil
	}
	return parser.Parse(mend(tokens), 0, parser.AllowDuplicateMapKey())
}

// screen files what is refused before the parser sees it: what settings have no use
// for, and what would take the parser too deep.
func (f *File) screen(tokens token.Tokens) bool {
	depth, inRow := 0, 0
	for i, tk := range tokens {
		refuse := func(text, hint string) {
			f.add(Problem{Position: f.clamp(tk.Position), Text: text, Hint: hint})
		}
		inRow++
		if i == 0 || tokens[i-1].Type != tk.Type {
			inRow = 0
		}
		switch tk.Type {
		case token.TagType:
			refuse(fmt.Sprintf("tag %s: tags are not used here", tk.Value), "put text that starts with ! in quotes")
		case token.DirectiveType:
			refuse("directives are not used here", "put text that starts with % in quotes")
		case token.MappingKeyType:
			refuse("a key must be a plain word", "put text that starts with ? in quotes")
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingValueType:
			if depth == 0 && f.clamp(tk.Position).Column > widest && inFront(tokens, i) {
				refuse(fmt.Sprintf("indented beyond column %d", widest), "")
			}
		}
		if depth > mostNesting || inRow > mostNesting && tk.Type == token.SequenceEntryType {
			refuse(fmt.Sprintf("nested more than %d deep", mostNesting), "")
		}
		if len(f.problems) > 0 {
			return false
		}
	}
	return true
}

// inFront reports whether only list dashes stand before a dash or a key's colon on its line.
func inFront(tokens token.Tokens, i int) bool {
	if tokens[i].Type == token.MappingValueType {
		i--
	}
	line := tokens[max(i, 0)].Position.Line
	for i--; i >= 0 && tokens[i].Position.Line == line; i-- {
		if tokens[i].Type != token.SequenceEntryType {
			return false
		}
	}
	return true
}

// mend puts plain scalars such as 127.0.0.1:7400 together again where the library's
// lexer takes them apart: in a [list] within a {mapping} it takes every colon for the
// end of a key, while YAML wants a space after that colon.
func mend(tokens token.Tokens) token.Tokens {
	var whole token.Tokens
	var brackets []token.Type
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets = append(brackets, tk.Type)
		case token.SequenceEndType, token.MappingEndType:
			brackets = brackets[:max(0, len(brackets)-1)]
		}
		inList := len(brackets) > 1 && brackets[len(brackets)-1] == token.SequenceStartType
		if last := len(whole) - 1; inList && last > 0 && continues(whole[last], tk) {
			whole[last] = token.String(whole[last].Value+tk.Value, whole[last].Origin+tk.Origin, whole[last].Position)
			continue
		}
		whole = append(whole, tk)
	}
	var linked token.Tokens
	linked.Add(whole...)
	return linked
}

// continues reports whether a token is a colon inside a plain scalar, or what follows such a colon.
func continues(last, tk *token.Token) bool {
	if !plain(last) || strings.TrimRight(last.Origin, " \n") != last.Origin {
		return false
	}
	if tk.Type == token.MappingValueType {
		return tk.Next != nil && plain(tk.Next) && tk.Next.Position.Offset == tk.Position.Offset+1
	}
	return plain(tk) && strings.HasSuffix(last.Value, ":") && tk.Prev != nil && tk.Prev.Type == token.MappingValueType
}

func plain(tk *token.Token) bool {
	switch tk.Type {
	case token.StringType, token.IntegerType, token.FloatType, token.BoolType, token.NullType, token.BinaryIntegerType,
		token.OctetIntegerType, token.HexIntegerType, token.InfinityType, token.NanType:
		return true
	}
	return false
}

// syntax files an error of the parser.
func (f *File) syntax(err error) {
	p := Problem{Text: err.Error()}
	if at, ok := errors.AsType[yaml.Error](err); ok {
		p.Text = inPlainWords(at.GetMessage())
		if tk := at.GetToken(); tk != nil {
			p.Position = f.clamp(tk.Position)
		}
	}
	if line := max(p.Line, 1); line <= len(f.lines) && strings.HasPrefix(strings.TrimLeft(f.lines[line-1], " "), "\t") {
		p.Hint = "indent with spaces, not with tabs"
	}
	f.add(p)
}

// syntaxWords is what the parser's messages mean, by what they begin with or have in them.
var syntaxWords = []struct{ parser, plain string }{
	{"sequence end token ']'", "a list that begins with [ is not closed by ]"},
	{"flow map end token '}'", "a map that begins with { is not closed by }"},
	{"could not find flow mapping end", "a map that begins with { is not closed by }"},
	{"could not find end character of double-quoted", "a text that begins with \" has no \" at its end"},
	{"could not find end character of single-quoted", "a text that begins with ' has no ' at its end"},
	{"value is not allowed in this context", "this does not belong here: look at the indentation, at a missing colon, or whether a text with : or # wants quotes"},
	{"found character '\\t' that cannot start any token", "a tab, where spaces are wanted"},
	{"mapping value is not allowed in this context", "a second colon in one line: a text with a colon wants quotes"},
	{"unexpected key name", "a key without a colon behind it, or a value that wants quotes"},
}

// inPlainWords says what a message of the parser means, and the message itself where it is not known.
func inPlainWords(message string) string {
	for i := len(syntaxWords) - 1; i >= 0; i-- {
		if w := syntaxWords[i]; strings.Contains(message, w.parser) {
			return w.plain
		}
	}
	return message
}

// clamp brings a position of the library into the file, which it may be beside.
func (f *File) clamp(at *token.Position) Position {
	if at == nil {
		return Position{1, 1}
	}
	line := min(max(at.Line, 1), max(len(f.lines), 1))
	width := utf8.RuneCountInString(f.lines[line-1])
	return Position{line, min(max(at.Column, 1), width+1)}
}
