package orca

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// vector is what gRPC for Go sends for cpu .5, 100 rps, 2 eps and one named metric.
const vector = "CQAAAAAAAOA/MQAAAAAAAFlAOQAAAAAAAABAQg4KA3JpZhEAAAAAAAAQQA"

func one(header, value string) func(string) []string {
	return func(name string) []string {
		if name == header {
			return []string{value}
		}
		return nil
	}
}

// m is a metric that tables can write without its fields' names.
type m balance.Metric

func plain(metrics []balance.Metric) (out []m) {
	for _, one := range metrics {
		out = append(out, m(one))
	}
	return out
}

func metrics(list []m) (out []balance.Metric) {
	for _, one := range list {
		out = append(out, balance.Metric(one))
	}
	return out
}

func parsed(get func(string) []string) ([]m, error) {
	got, err := Parse(get)
	return plain(got), err
}

func TestParse(t *testing.T) {
	fromVector := []m{{"cpu_utilization", .5}, {"rps_fractional", 100}, {"eps", 2}, {"named_metrics.rif", 4}}
	long := strings.Repeat("k", balance.MaxMetricName)
	for _, test := range []struct {
		name, header, value string
		want                []m
		problem             string // in the error; empty: no error
	}{
		{"bin", HeaderBin, vector, fromVector, ""},
		{"bin padded", HeaderBin, vector + "==", fromVector, ""},
		{"BIN", Header, "BIN " + vector, fromVector, ""},
		{"BIN padded", Header, "bin  " + vector + "==", fromVector, ""},
		{"text", Header, "TEXT cpu_utilization=0.7,mem_utilization=0.9,application_utilization=1.8,rps_fractional=1e3,eps=2,named_metrics.foo=123,utilization.total=0.5,request_cost.x=0",
			[]m{{"cpu_utilization", .7}, {"mem_utilization", .9}, {"application_utilization", 1.8}, {"rps_fractional", 1000}, {"eps", 2}, {"named_metrics.foo", 123}, {"utilization.total", .5}, {"request_cost.x", 0}}, ""},
		{"text with colons and blanks", Header, " text\tcpu_utilization:0.7 , named_metrics.a : 3 ", []m{{"cpu_utilization", .7}, {"named_metrics.a", 3}}, ""},
		{"text with a colon in the key", Header, "TEXT named_metrics.vllm:waiting=3", []m{{"named_metrics.vllm:waiting", 3}}, ""},
		{"text keeps the good", Header, "TEXT cpu=0.7,eps=2", []m{{"eps", 2}}, `"cpu"`},
		{"text value", Header, "TEXT cpu_utilization=x,eps=2", []m{{"eps", 2}}, `"cpu_utilization" is "x"`},
		{"text nothing", Header, "TEXT cpu_utilization=,=3,,eps=2", []m{{"eps", 2}}, "not key=value"},
		{"text NaN", Header, "TEXT cpu_utilization=NaN,mem_utilization=inf,eps=2", []m{{"eps", 2}}, "NaN"},
		{"text negative", Header, "TEXT cpu_utilization=-1,eps=2", []m{{"eps", 2}}, `"cpu_utilization" is -1`},
		{"text twice", Header, "TEXT eps=2,eps=3", []m{{"eps", 2}}, "twice"},
		{"text empty map key", Header, "TEXT named_metrics.=2,eps=3", []m{{"eps", 3}}, `"named_metrics."`},
		{"text not in UTF-8", Header, "TEXT named_metrics.\xff=2,eps=3", []m{{"eps", 3}}, "not a key"},
		{"text long key", Header, "TEXT named_metrics." + long + "=2,eps=3", []m{{"eps", 3}}, "key of"},
		{"text empty", Header, "TEXT", nil, ""},
		{"json", Header, `JSON {"cpu_utilization":0.7,"rpsFractional":1000,"named_metrics":{"foo":123},"utilization":{"a":0.25}}`,
			[]m{{"cpu_utilization", .7}, {"named_metrics.foo", 123}, {"rps_fractional", 1000}, {"utilization.a", .25}}, ""},
		{"json keeps the good", Header, `JSON {"cpu_utilization":"0.7","eps":2,"named_metrics":[1],"x":{}, "mem_utilization": null}`, []m{{"eps", 2}}, `"cpu_utilization"`},
		{"json broken", Header, `JSON {"eps":2`, nil, "JSON"},
		{"format", Header, "XML <a/>", nil, `"XML"`},
		{"base64", HeaderBin, "!!", nil, "base64"},
		{"bin breaks off", HeaderBin, vector[:40], fromVector[:3], "breaks off"},
		{"huge", Header, "TEXT eps=" + strings.Repeat("1", maxValue), nil, "at most"},
		{"none", "x", "y", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parsed(one(test.header, test.value))
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("Parse(%s: %s)\n got %v\nwant %v", test.header, test.value, got, test.want)
			}
			if told := err != nil; told != (test.problem != "") || told && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("Parse(%s: %s)\n got error %v\nwant one with %q", test.header, test.value, err, test.problem)
			}
		})
	}
}

func TestParsePrecedence(t *testing.T) {
	h := http.Header{}
	h.Set(Header, "TEXT eps=7")
	h.Set(HeaderBin, vector)
	if got, _ := parsed(h.Values); len(got) != 4 {
		t.Errorf("with both headers: got %v, want those of the binary one", got)
	}
	h.Set(HeaderBin, "?")
	got, err := parsed(h.Values)
	if want := []m{{"eps", 7}}; !reflect.DeepEqual(got, want) || err == nil {
		t.Errorf("with a broken binary header: got %v, %v, want %v and an error", got, err, want)
	}
	h.Del(HeaderBin)
	h.Add(Header, "TEXT eps=8")
	got, err = parsed(h.Values)
	if want := []m{{"eps", 7}}; !reflect.DeepEqual(got, want) || err == nil {
		t.Errorf("with two values: got %v, %v, want %v and an error", got, err, want)
	}
}

func TestParseManyMetrics(t *testing.T) {
	var list []string
	for i := range 2 * balance.MaxMetrics {
		list = append(list, "named_metrics."+strings.Repeat("x", i+1)+"=1")
	}
	got, err := parsed(one(Header, "TEXT "+strings.Join(list, ",")))
	if len(got) != balance.MaxMetrics || err == nil || len(err.Error()) > 2000 {
		t.Errorf("got %d metrics and error %v, want %d and a short error", len(got), err, balance.MaxMetrics)
	}
}

func TestParseWireTypes(t *testing.T) {
	double := func(number int, v float64) []byte {
		return binary.LittleEndian.AppendUint64([]byte{byte(number<<3 | fixed64)}, math.Float64bits(v))
	}
	entry := func(number int, body []byte) []byte {
		return append([]byte{byte(number<<3 | length), byte(len(body))}, body...)
	}
	for _, test := range []struct {
		name    string
		message []byte
		want    []m
		bad     bool
	}{
		{"deprecated and unknown fields", slices.Concat([]byte{3<<3 | varint, 5}, []byte{15<<3 | fixed32, 1, 2, 3, 4}, double(15, 3), entry(14, []byte("abc")), double(7, 2)), []m{{"eps", 2}}, false},
		{"zero entry", entry(8, entry(1, []byte("a"))), []m{{"named_metrics.a", 0}}, false},
		{"entry without a key", slices.Concat(entry(8, double(2, 1)), double(7, 2)), []m{{"eps", 2}}, true},
		{"varint for a double", slices.Concat([]byte{1<<3 | varint, 5}, double(7, 2)), []m{{"eps", 2}}, true},
		{"double for a map", slices.Concat(double(8, 5), double(7, 2)), []m{{"eps", 2}}, true},
		{"group", append(double(7, 2), 1<<3|3), []m{{"eps", 2}}, true},
		{"NaN", slices.Concat(double(1, math.NaN()), double(7, 2)), []m{{"eps", 2}}, true},
		{"broken entry", slices.Concat(entry(8, []byte{1<<3 | length, 9}), double(7, 2)), []m{{"eps", 2}}, true},
		{"length beyond all", []byte{8<<3 | length, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parsed(one(HeaderBin, base64.StdEncoding.EncodeToString(test.message)))
			if !reflect.DeepEqual(got, test.want) || (err != nil) != test.bad {
				t.Errorf("Parse(%x)\n got %v, %v\nwant %v, error %v", test.message, got, err, test.want, test.bad)
			}
		})
	}
}

func TestAppendText(t *testing.T) {
	for _, test := range []struct {
		metrics []m
		want    string
	}{
		{nil, "x"},
		{[]m{{"cpu_utilization", .5}}, "xTEXT cpu_utilization=0.5"},
		{[]m{{"application_utilization", 1.25}, {"named_metrics.in_flight", 3}, {"rps_fractional", 1e6}}, "xTEXT application_utilization=1.25,named_metrics.in_flight=3,rps_fractional=1e+06"},
		{[]m{{"nonsense", 1}, {"request_cost.x", 1}, {"named_metrics.", 1}, {"named_metrics.a b", 1}, {"named_metrics.a,b", 1}, {"named_metrics.a=b", 1}, {"named_metrics.é", 1}}, "x"},
		{[]m{{"eps", math.NaN()}, {"eps", 1}, {"eps", 2}, {"cpu_utilization", -1}, {"mem_utilization", math.Inf(1)}}, "xTEXT eps=1"},
	} {
		if got := string(AppendText([]byte("x"), metrics(test.metrics))); got != test.want {
			t.Errorf("AppendText(%v)\n got %s\nwant %s", test.metrics, got, test.want)
		}
	}
}

func TestTextRoundTrip(t *testing.T) {
	name := rapid.OneOf(rapid.SampledFrom([]string{balance.CPUUtilization, balance.EPS, balance.InFlight}), rapid.StringMatching(`(named_metrics|utilization)\.[a-z_0-9.]{1,20}`))
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) m {
			return m{name.Draw(t, "name"), rapid.Float64Range(0, 1e15).Draw(t, "value")}
		}), 1, 20, func(m m) string { return m.Name }).Draw(t, "metrics")
		got, err := parsed(one(Header, string(AppendText(nil, metrics(want)))))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("TEXT cpu_utilization=0.7,named_metrics.foo:3", "")
	f.Add(`JSON {"eps":2,"named_metrics":{"a":1}}`, vector)
	f.Add("BIN "+vector, "!")
	f.Fuzz(func(t *testing.T, value, bin string) {
		h := map[string][]string{Header: {value}, HeaderBin: {bin}}
		metrics, _ := Parse(func(name string) []string { return h[name] })
		if len(metrics) > balance.MaxMetrics {
			t.Fatalf("%d metrics", len(metrics))
		}
		for _, m := range metrics {
			if !known(m.Name) || len(m.Name) > balance.MaxMetricName || !finite(m.Value) {
				t.Fatalf("metric %q = %v should have been dropped", m.Name, m.Value)
			}
		}
		again := string(AppendText(nil, metrics))
		if again == "" {
			return
		}
		if _, err := Parse(one(Header, again)); err != nil {
			t.Fatalf("what was written cannot be read: %q: %v", again, err)
		}
	})
}

func TestParseAllocations(t *testing.T) {
	for _, test := range []struct {
		header, value string
		most          float64
	}{
		{Header, "TEXT cpu_utilization=0.7,named_metrics.in_flight=3,rps_fractional=100", 1},
		{HeaderBin, "CQAAAAAAAOA/MQAAAAAAAFlAOQAAAAAAAABA", 2},
	} {
		values := []string{test.value}
		get := func(name string) []string {
			if name == test.header {
				return values
			}
			return nil
		}
		if got := testing.AllocsPerRun(100, func() { Parse(get) }); got > test.most {
			t.Errorf("%s: %s: %v allocations, want at most %v", test.header, test.value, got, test.most)
		}
	}
}
