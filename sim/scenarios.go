package sim

import (
	"cmp"
	"embed"
	"io/fs"
	"slices"
	"strings"
)

//go:embed scenarios/*.yaml
var scenarios embed.FS

// File is one canonical scenario as it is written.
type File struct {
	Name string // sim/scenarios/b1-4.yaml
	YAML []byte
}

// Canonical returns the file of the canonical scenario of a name, whatever its case, or
// else the files of those whose names begin with it: B1 finds B1-4, B1-16 and so on,
// nothing finds all. This room reads no YAML; the caller fills a Scenario.
func Canonical(word string) (files []File) {
	names, err := fs.Glob(scenarios, "scenarios/*.yaml")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	slices.SortFunc(names, inOrder)
	word = strings.ToLower(word)
	for _, name := range names {
		id := strings.TrimSuffix(strings.TrimPrefix(name, "scenarios/"), ".yaml")
		if id != word && !strings.HasPrefix(id, word+"-") && word != "" {
			continue
		}
		text, err := scenarios.ReadFile(name)
		if err != nil {
			panic(err) // it was found a moment ago
		}
		file := File{"sim/" + name, text}
		if id == word {
			return []File{file}
		}
		files = append(files, file)
	}
	return files
}

// inOrder compares names so that b1-4 comes before b1-16.
func inOrder(a, b string) int {
	as, bs := words(a), words(b)
	return slices.CompareFunc(as, bs, func(x, y string) int {
		if x[0] <= '9' && y[0] <= '9' {
			return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
		}
		return cmp.Compare(x, y)
	})
}

func words(name string) []string {
	return strings.FieldsFunc(strings.TrimSuffix(name, ".yaml"), func(r rune) bool { return r == '-' || r == '/' })
}
