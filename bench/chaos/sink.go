//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// sink takes what a part logs, life after life, through a named pipe. It can stall, so that
// nothing is read, and go, so that what is written fails.
type sink struct {
	path   string
	copy   io.Writer         // gets all; nil: nothing does
	access func(line []byte) // gets the lines of access logs; nil: they are thrown away

	mu      sync.Mutex
	resumed *sync.Cond
	stalled bool
	reader  *os.File // nil: it has gone, or nothing is there to be read
	tail    []string
	served  chan struct{} // closed when this life says that it serves
}

const tailLines = 400

func newSink(path string) (*sink, error) {
	s := &sink{path: path}
	s.resumed = sync.NewCond(&s.mu)
	return s, syscall.Mkfifo(path, 0o600)
}

// open begins a life, and returns what it is to write to, and what is closed when it serves.
// The caller closes the file when the part has it.
func (s *sink) open() (writer *os.File, served <-chan struct{}, err error) {
	s.mu.Lock()
	s.served = make(chan struct{})
	served = s.served
	s.mu.Unlock()
	reader, err := s.reading()
	if err != nil {
		return nil, nil, err
	}
	writer, err = os.OpenFile(s.path, os.O_WRONLY, 0)
	go s.read(reader) // not before there is a writer: it would find the end at once
	return writer, served, err
}

// come begins to read again.
func (s *sink) come() error {
	reader, err := s.reading()
	if err == nil {
		go s.read(reader)
	}
	return err
}

func (s *sink) reading() (*os.File, error) {
	reader, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader = reader
	return reader, err
}

// leave stops reading, so that what is written fails.
func (s *sink) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader != nil {
		_ = s.reader.Close() // what was in it is lost
		s.reader = nil
	}
}

// stall has nothing read until resume, and fills the pipe, so that nothing can be written either.
func (s *sink) stall() error {
	s.mu.Lock()
	s.stalled = true
	s.mu.Unlock()
	filler, err := os.OpenFile(s.path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer filler.Close()
	for err == nil {
		if err = filler.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err == nil {
			_, err = filler.Write(bytes.Repeat([]byte("\n"), 4096))
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

func (s *sink) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = false
	s.resumed.Broadcast()
}

// read reads until the last writer, or the reader, has gone.
func (s *sink) read(from *os.File) {
	defer from.Close()
	for lines := bufio.NewReader(from); ; {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			s.take(line)
		}
		if err != nil {
			return
		}
	}
}

func (s *sink) take(line []byte) {
	s.mu.Lock()
	for s.stalled {
		s.resumed.Wait()
	}
	defer s.mu.Unlock()
	if s.copy != nil {
		_, _ = s.copy.Write(line) // for people to read
	}
	var record struct {
		Message string `json:"msg"`
	}
	if json.Unmarshal(line, &record) == nil {
		switch record.Message {
		case "request":
			if s.access != nil {
				s.access(line)
			}
			return
		case "serving":
			select {
			case <-s.served:
			default:
				close(s.served)
			}
		}
	}
	if len(s.tail) == tailLines {
		s.tail = append(s.tail[:0], s.tail[1:]...)
	}
	s.tail = append(s.tail, string(line))
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.tail, "")
}
