package agent

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

const exposition = `# HELP vllm:num_requests_waiting Number of requests waiting.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="a b\"c\\d\n"} 3.0
vllm:num_requests_waiting{engine="1",model_name="x",} 4 1395066363000
vllm:num_requests_waiting_total{engine="1"} 400

plain 5
  spaced { a = "1" , b = "2" }   2.5e1
nan NaN
inf +Inf
broken{a="1" 3
exemplar_bucket{le="1"} 7 # {trace_id="x"} 0.5
plain_more 9
`

func TestReadSeries(t *testing.T) {
	for _, test := range []struct {
		name string
		want []Series
		got  []balance.Metric
		err  string
	}{
		{"summed", []Series{{"queue", "vllm:num_requests_waiting", 0}}, list(m{"named_metrics.queue", 7}), ""},
		{"label", []Series{{"queue", `vllm:num_requests_waiting{engine="1"}`, 2}}, list(m{"named_metrics.queue", 8}), ""},
		{"escapes", []Series{{"q", `vllm:num_requests_waiting{model_name="a b\"c\\d\n", engine="0"}`, 0}}, list(m{"named_metrics.q", 3}), ""},
		{"several", []Series{{"utilization.p", "plain", .01}, {"application_utilization", `spaced{b="2"}`, 0}, {"e", "exemplar_bucket", 0}},
			list(m{"utilization.p", .05}, m{"application_utilization", 25}, m{"named_metrics.e", 7}), ""},
		{"same family twice", []Series{{"a", "plain", 1}, {"b", "plain", 2}}, list(m{"named_metrics.a", 5}, m{"named_metrics.b", 10}), ""},
		{"missing", []Series{{"a", "absent", 0}, {"b", `plain{x="1"}`, 0}, {"c", "plain", 0}}, list(m{"named_metrics.c", 5}), `no series absent, nor one like it among 9 families; no series plain{x="1"}; nearest: plain`},
		{"nan", []Series{{"a", "nan", 0}}, nil, "no value of nan yet: NaN"},
		{"inf", []Series{{"a", "inf", 0}}, list(m{"named_metrics.a", math.Inf(1)}), ""},
		{"renamed", []Series{{"a", "vllm:num_request_waiting", 0}}, nil, "no series vllm:num_request_waiting; nearest: vllm:num_requests_waiting"},
		{"other labels", []Series{{"a", `vllm:num_requests_waiting{engine="2"}`, 0}}, nil, `no series vllm:num_requests_waiting{engine="2"}; nearest: vllm:num_requests_waiting{engine="0",model_name="a b\"c\\d\n"}`},
		{"exemplar", []Series{{"a", `exemplar_bucket{le="2"}`, 0}}, nil, `nearest: exemplar_bucket{le="1"}`},
		{"broken", []Series{{"a", "broken", 0}}, nil, "are malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readSeries(strings.NewReader(exposition), test.want)
			if !reflect.DeepEqual(got, test.got) {
				t.Errorf("got %v, want %v", got, test.got)
			}
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("got error %v, want %q", err, test.err)
			}
		})
	}
}

func TestReadSeriesLongLines(t *testing.T) {
	long := "plain{a=\"" + strings.Repeat("x", 3*mostLine) + "\"} 1\nplain 2\nplain 3" // and no end of line
	got, err := readSeries(strings.NewReader(long), []Series{{Name: "p", Selector: "plain"}})
	if want := list(m{"named_metrics.p", 5}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestParseSelector(t *testing.T) {
	for _, good := range []string{"a", "a:b_c9", `a{}`, `a{b="c"}`, ` a{ b = "c" , d="", } `} {
		if _, err := parseSelector(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "9a", "a b", "a{", `a{b}`, `a{b="c}`, `a{b=~"c"}`, `a{b!="c"}`, `a{b="c"}x`, `a{b="c" d="e"}`, `{b="c"}`} {
		if _, err := parseSelector(bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestNearest(t *testing.T) {
	var f families
	for _, name := range []string{"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "process_cpu_seconds_total"} {
		f.add([]byte(name))
	}
	if len(f.names) != 4 {
		t.Errorf("%d families, want 4", len(f.names))
	}
	for name, want := range map[string]string{
		"vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc", "vllm:num_request_waiting": "vllm:num_requests_waiting",
		"process_cpu_second_total": "process_cpu_seconds_total", "queue": "", "": "",
	} {
		if got := f.nearest(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func FuzzReadSeries(f *testing.F) {
	f.Add(exposition, `vllm:num_requests_waiting{engine="1"}`)
	f.Add("a{b=\"\\", "a")
	f.Fuzz(func(t *testing.T, text, sel string) {
		got, err := readSeries(strings.NewReader(text), []Series{{Name: "x", Selector: sel}})
		if d, back := distance(text, sel, 1000), distance(sel, text, 1000); d != back || (d == 0) != (text == sel) {
			t.Fatalf("distance %d, and back %d", d, back)
		}
		if len(got) > 1 || len(got) == 0 && err == nil {
			t.Fatalf("got %v, %v", got, err)
		}
	})
}
