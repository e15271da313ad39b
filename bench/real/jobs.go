//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// job is a kind of work: a program that writes its result to its standard output.
type job struct {
	name  string
	share float64 // of the requests
	argv  []string
	sum   [sha256.Size]byte // of what it writes
}

// makeJobs makes what the jobs work on in a folder, and finds out what they write.
func makeJobs(dir string) ([]job, error) {
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("doc.pdf"), drawing(90), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(at("text"), prose(200<<10), 0o644); err != nil {
		return nil, err
	}
	for _, argv := range [][]string{
		{"ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", "mandelbrot=size=2400x1600", "-frames:v", "1", at("photo.jpg")},
		{"ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=2", "-c:v", "mpeg4", at("clip.mp4")},
		{"sqlite3", at("db.sqlite"), `create table visits(page integer, took integer);
			with recursive n(i) as (select 1 union all select i+1 from n where i < 90000) insert into visits select (i*7919)%97, (i*104729)%1000 from n;`},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", strings.Join(argv[:1], " "), err, out)
		}
	}
	jobs := []job{
		{name: "page", share: .45, argv: []string{"pdftoppm", "-r", "72", "-jpeg", "-singlefile", at("doc.pdf")}},
		{name: "query", share: .25, argv: []string{"sqlite3", at("db.sqlite"), "select page, count(*), avg(took) from visits group by page order by 3 desc limit 10"}},
		{name: "thumbnail", share: .15, argv: []string{"vipsthumbnail", at("photo.jpg"), "-s", "320", "-o", ".jpg"}},
		{name: "film", share: .10, argv: []string{"ffmpeg", "-loglevel", "error", "-i", at("clip.mp4"), "-c:v", "libx264", "-preset", "fast", "-threads", "1", "-f", "mpegts", "-"}},
		{name: "pack", share: .05, argv: []string{"zstd", "-19", "-q", "-c", at("text")}},
	}
	for i := range jobs {
		j := &jobs[i]
		for try := range 2 {
			out, err := exec.Command(j.argv[0], j.argv[1:]...).Output()
			if err != nil || len(out) == 0 {
				return nil, fmt.Errorf("job %s: %s: wrote %d bytes: %w", j.name, strings.Join(j.argv, " "), len(out), err)
			}
			sum := sha256.Sum256(out)
			if try == 1 && sum != j.sum {
				return nil, fmt.Errorf("job %s writes different bytes each time, so its answers could not be told apart", j.name)
			}
			j.sum = sum
		}
	}
	return jobs, nil
}

// drawing is a PDF of one page with so many curves.
func drawing(curves int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var page bytes.Buffer
	for range curves {
		fmt.Fprintf(&page, "%.2f %.2f %.2f rg %.1f %.1f m", random.Float64(), random.Float64(), random.Float64(), random.Float64()*600, random.Float64()*800)
		for range 3 {
			fmt.Fprintf(&page, " %.1f %.1f", random.Float64()*600, random.Float64()*800)
		}
		page.WriteString(" c f\n")
	}
	var out bytes.Buffer
	var offsets []int
	object := func(format string, a ...any) {
		offsets = append(offsets, out.Len())
		fmt.Fprintf(&out, "%d 0 obj\n"+format+"\nendobj\n", append([]any{len(offsets)}, a...)...)
	}
	out.WriteString("%PDF-1.4\n")
	object("<< /Type /Catalog /Pages 2 0 R >>")
	object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
	object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R >>")
	object("<< /Length %d >>\nstream\n%s\nendstream", page.Len(), page.String())
	table := out.Len()
	fmt.Fprintf(&out, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, at := range offsets {
		fmt.Fprintf(&out, "%010d 00000 n \n", at)
	}
	fmt.Fprintf(&out, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(offsets)+1, table)
	return out.Bytes()
}

// prose is text that can be packed about as well as people's.
func prose(size int) []byte {
	random := rand.New(rand.NewPCG(3, 4))
	words := make([]string, 4000)
	for i := range words {
		word := make([]byte, 2+random.IntN(9))
		for j := range word {
			word[j] = "etaoinshrdlucmfwyp"[int(18*random.Float64()*random.Float64())]
		}
		words[i] = string(word)
	}
	var out bytes.Buffer
	for out.Len() < size {
		out.WriteString(words[int(float64(len(words))*random.Float64()*random.Float64())])
		out.WriteByte(" \n"[random.IntN(10)/9])
	}
	return out.Bytes()
}
