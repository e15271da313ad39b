//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/peers"
	"github.com/evenkeel-lb/evenkeel/internal/quota"
)

// config is the command line.
type config struct {
	binary string
	rounds int
	length time.Duration
	warm   time.Duration
	use    float64
	scale  float64
	seed   uint64
	cost   time.Duration
	smoke  bool
	out    string
	runs   string
	dir    string
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		exit(serve())
	}
	var c config
	flag.StringVar(&c.binary, "evenkeel", "build/evenkeel", "our binary")
	flag.IntVar(&c.rounds, "rounds", 2, "turns of each contender while nothing happens")
	flag.DurationVar(&c.length, "length", time.Minute, "of a turn, after the warm-up")
	flag.DurationVar(&c.warm, "warm", 10*time.Second, "of each turn that does not count")
	flag.Float64Var(&c.use, "use", .63, "share of all services' capacity that is asked for")
	flag.Float64Var(&c.scale, "scale", 1, "of the phases of the run with trouble; 0: leave it out")
	flag.Uint64Var(&c.seed, "seed", 1, "of the arrivals")
	flag.DurationVar(&c.cost, "cost", time.Minute, "how long an agent beside a service is watched for its own CPU; 0: not")
	flag.BoolVar(&c.smoke, "smoke", false, "a minute that shows that all of it works; its figures mean nothing and are held against no goal")
	flag.StringVar(&c.out, "out", "build/bench/real.json", "file for the figures")
	flag.StringVar(&c.runs, "runs", "build/bench/real-runs", "folder for every answer of each run, and our logs")
	flag.Parse()
	if c.smoke {
		c.rounds, c.length, c.warm, c.scale, c.cost, c.use = 1, 4*time.Second, time.Second, .05, 2*time.Second, .4
	}
	exit(c.bench())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "real:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// programs are those that the services and the peers are made of.
var programs = []string{"haproxy", "nginx", "gunicorn", "node", "ffmpeg", "vipsthumbnail", "pdftoppm", "sqlite3", "zstd"}

// possible returns nil if the benchmark can run here, or all that is missing and how to get it.
func (c *config) possible() error {
	var missing []string
	for _, p := range programs {
		if _, err := peers.Find(p); err != nil {
			missing = append(missing, p)
		}
	}
	var problems []string
	if len(missing) > 0 {
		problems = append(problems, peers.Missing(missing...).Error())
	}
	if err := quota.Available(); err != nil {
		problems = append(problems, strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	if _, err := exec.LookPath(c.binary); err != nil {
		problems = append(problems, err.Error()+": make build makes it")
	}
	if problems != nil {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

// bench does everything.
func (c *config) bench() (err error) {
	if err := c.possible(); err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "evenkeel-real-"); err != nil {
		return err
	}
	defer os.RemoveAll(c.dir)
	if c.runs, err = filepath.Abs(c.runs); err != nil { // proxies run elsewhere
		return err
	}
	if err := os.RemoveAll(c.runs); err != nil {
		return err
	}
	if err := os.MkdirAll(c.runs, 0o755); err != nil {
		return err
	}
	jobs, err := makeJobs(c.dir)
	if err != nil {
		return err
	}
	all := services()
	defer func() {
		for _, s := range all {
			err = errors.Join(err, s.remove())
		}
	}()
	for _, s := range all {
		if err := s.prepare(c.dir, jobs); err != nil {
			return err
		}
		if err := s.start(); err != nil {
			return err
		}
	}
	r := &results{cfg: c}
	if err := c.weigh(r, all, jobs); err != nil {
		return err
	}
	if err := c.calm(r, all, jobs); err != nil {
		return err
	}
	if err := c.troubled(r, all, jobs); err != nil {
		return err
	}
	return r.report()
}

// weigh measures what each job costs at each service, overheads included, and with it what all can do.
func (c *config) weigh(r *results, all []*service, jobs []job) error {
	const tries = 3
	client := &http.Client{Timeout: patience}
	for _, s := range all {
		if err := s.group.Set(2); err != nil {
			return err
		}
		var mean float64
		for i := range jobs {
			before, err := s.group.Usage()
			if err != nil {
				return err
			}
			for try := range tries {
				if got := ask(client, s.address, try, arrival{job: i}, time.Now(), &jobs[i]); got.Problem != "" {
					return fmt.Errorf("service %s: %s\n%s", s.name, got.Problem, s.log())
				}
			}
			after, err := s.group.Usage()
			if err != nil {
				return err
			}
			cost := (after - before).Seconds() / tries
			r.costs = append(r.costs, cost)
			mean += jobs[i].share * cost
		}
		if err := s.group.Set(s.quota); err != nil {
			return err
		}
		r.names = append(r.names, fmt.Sprintf("%s (%s), %.2f CPUs", s.name, s.what, s.quota))
		r.capacity = append(r.capacity, s.quota/mean)
	}
	r.jobs = jobs
	r.describe()
	return nil
}

// calm has the contenders take turns; who begins moves on with each round.
func (c *config) calm(r *results, all []*service, jobs []job) error {
	rate := c.use * sum(r.capacity)
	r.calm = make(map[string][]answer)
	for round := range c.rounds {
		coming := arrivals(c.seed+uint64(round), rate, c.warm+c.length, jobs, edgesEach)
		for turn := range contenders {
			name := contenders[(turn+round)%len(contenders)]
			where := fmt.Sprintf("calm-%d-%s", round+1, strings.ReplaceAll(name, " ", "-"))
			s, err := c.startSystem(name, filepath.Join(c.runs, where), all)
			if err != nil {
				return err
			}
			if name == withAgents && round == 0 && c.cost > 0 {
				if err := c.watchAgents(r, s); err != nil {
					s.stop()
					return err
				}
			}
			answers := send(s.edges, coming, jobs)
			s.stop()
			if err := r.keep(where, answers); err != nil {
				return err
			}
			for _, a := range answers {
				if a.At >= c.warm {
					r.calm[name] = append(r.calm[name], a)
				}
			}
			fmt.Printf("round %d  %-22s %v\n", round+1, name, summarise(answers, c.warm, c.warm+c.length))
		}
	}
	return nil
}

// troubled has ours and the peers meet the same trouble.
func (c *config) troubled(r *results, all []*service, jobs []job) error {
	if c.scale == 0 {
		return nil
	}
	byName := make(map[string]*service)
	for _, s := range all {
		byName[s.name] = s
	}
	if err := byName["e"].kill(); err != nil {
		return err
	}
	rate := c.use * (sum(r.capacity) - r.capacity[len(r.capacity)-1])
	coming := arrivals(c.seed+1000, rate, c.warm+troubleLength(c.scale), jobs, edgesEach)
	r.trouble = make(map[string][]summary)
	for _, name := range contenders {
		if name == withoutAgents {
			continue
		}
		where := "trouble-" + strings.ReplaceAll(name, " ", "-")
		s, err := c.startSystem(name, filepath.Join(c.runs, where), all, "e")
		if err != nil {
			return err
		}
		t := &trouble{services: byName, system: s}
		failed := make(chan error, 1)
		go t.play(time.Now().Add(c.warm), c.scale, failed)
		answers := send(s.edges, coming, jobs)
		err = errors.Join(<-failed, t.restore())
		s.stop()
		if err := errors.Join(err, r.keep(where, answers)); err != nil {
			return err
		}
		from := c.warm
		for _, p := range phases {
			got := summarise(answers, from, from+scaled(p.length, c.scale))
			r.trouble[name] = append(r.trouble[name], got)
			from += scaled(p.length, c.scale)
			fmt.Printf("%-20s %-22s %v\n", p.name, name, got)
		}
	}
	return nil
}

// watchAgents measures what the agents cost while nothing is asked of their services.
func (c *config) watchAgents(r *results, s *system) error {
	before := s.agentCost()
	time.Sleep(c.cost)
	after := s.agentCost()
	if len(before) == 0 || len(before) != len(after) {
		return fmt.Errorf("agents have ended: see %s", s.log.Name())
	}
	r.agentShare = (total(after) - total(before)).Seconds() / float64(len(after)) / c.cost.Seconds()
	return nil
}

// cpuOf returns the CPU time that a process's threads have used.
func cpuOf(pid int) (used time.Duration, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	for _, file := range threads {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		used += time.Duration(ns)
	}
	return used, nil
}

// diesWithUs has the kernel end a child if we are killed.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

func total(all []time.Duration) (sum time.Duration) {
	for _, d := range all {
		sum += d
	}
	return sum
}

func sum(all []float64) (sum float64) {
	for _, v := range all {
		sum += v
	}
	return sum
}
