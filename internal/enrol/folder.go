package enrol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Folder is a Store in a folder of this machine, for a master that has no election. Each version of a value is
// a file, NAME.END.VERSION, which is made by a hard link, so that of two processes that write the same
// version one fails. A former version is emptied but stays, so that its number is not used again.
type Folder struct{ dir string }

// OpenFolder makes the folder, which only its owner can read, if there is none.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &Folder{dir}
	return f, f.sweep(time.Now())
}

// stems returns, for each token whose name begins so, NAME.END and its largest version.
func (f *Folder) stems(name string) (map[string]int, error) {
	all, err := filepath.Glob(filepath.Join(f.dir, name+"*.*.*"))
	last := make(map[string]int)
	for _, file := range all {
		version, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(file), "."))
		stem := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		if hash, _, _ := strings.Cut(stem, "."); err == nil && IsHash(hash) {
			last[stem] = max(last[stem], version)
		}
	}
	return last, err
}

// sweep removes tokens that have ended.
func (f *Folder) sweep(now time.Time) error {
	all, err := f.stems("")
	for stem, last := range all {
		_, end, _ := strings.Cut(stem, ".")
		if at, err := strconv.ParseInt(end, 10, 64); err != nil || now.Before(time.Unix(at, 0)) {
			continue
		}
		for version := range last { // the largest one, which counts, first
			_ = os.Remove(f.file(stem, last-version)) // another process may have
		}
	}
	return err
}

// Add implements Store.
func (f *Folder) Add(_ context.Context, name string, value []byte, until time.Time) error {
	if err := f.sweep(time.Now()); err != nil {
		return err
	}
	all, err := f.stems("")
	if err != nil {
		return err
	}
	if len(all) >= mostKept {
		return errFull
	}
	done, err := f.put(name+"."+strconv.FormatInt(until.Unix()+1, 10), 1, value)
	if err == nil && !done {
		err = errThere
	}
	return err
}

// Get implements Store. A version is the name of its file.
func (f *Folder) Get(_ context.Context, name string) ([]byte, string, error) {
	if !IsHash(name) { // it becomes a file's name
		return nil, "", nil
	}
	for before := ""; ; { // again if what was found is a former version by the time that it is read
		all, err := f.stems(name)
		if err != nil || len(all) == 0 {
			return nil, "", err
		}
		var file string
		for stem, last := range all {
			file = f.file(stem, last)
		}
		value, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, "", nil // it has ended
		case err != nil:
			return nil, "", err
		case len(value) > 0:
			return value, filepath.Base(file), nil
		case file == before:
			return nil, "", fmt.Errorf("file %s of a token is empty", file)
		}
		before = file
	}
}

// Names implements Store.
func (f *Folder) Names(context.Context) (names []string, err error) {
	all, err := f.stems("")
	for stem := range all {
		name, _, _ := strings.Cut(stem, ".")
		names = append(names, name)
	}
	return names, err
}

func (f *Folder) file(stem string, version int) string {
	return filepath.Join(f.dir, stem+"."+strconv.Itoa(version))
}

// Swap implements Store.
func (f *Folder) Swap(_ context.Context, _, version string, value []byte) (bool, error) {
	former := filepath.Ext(version)
	n, err := strconv.Atoi(strings.TrimPrefix(former, "."))
	if err != nil {
		return false, err
	}
	done, err := f.put(strings.TrimSuffix(version, former), n+1, value)
	if done {
		_ = os.Truncate(filepath.Join(f.dir, version), 0) // for the room; the later one counts
	}
	return done, err
}

// put makes a version; false: there is one.
func (f *Folder) put(stem string, version int, value []byte) (done bool, err error) {
	temp, err := os.CreateTemp(f.dir, "new*.tmp")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = bytes.NewReader(value).WriteTo(temp)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return false, err
	}
	err = os.Link(temp.Name(), f.file(stem, version))
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}
