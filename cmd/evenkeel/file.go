package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/evenkeel-lb/evenkeel/config"
)

// settings is a file, or what flags say in its stead. A part that is nil was not
// given. Zero values stand for the defaults of the rooms that take them; docs/config.md
// says what they are.
type settings struct {
	Master *masterPart         `yaml:"master" also:"masters controller"`
	Pools  map[string]poolPart `yaml:"pools" also:"clusters upstreams backends services"`
	Edge   *edgePart           `yaml:"edge" also:"edges proxy frontend frontends listeners"`
	Agent  *agentPart          `yaml:"agent" also:"agents"`

	keys *keyrings // what was read of the files that these name; nil: not yet
}

type masterPart struct {
	ID        string  `yaml:"id" also:"name"`
	Listen    string  `yaml:"listen" also:"bind address"`
	Admin     string  `yaml:"admin" also:"api"`
	OpenPools bool    `yaml:"open_pools"`
	TLS       tlsPart `yaml:"tls"`
	Insecure  bool    `yaml:"insecure"`

	Election *electionPart `yaml:"election" also:"leaderelection ha"`
}

// tlsPart is what proves a component's role and name to the others, and theirs to it.
type tlsPart struct {
	Cert string `yaml:"cert" also:"certificate"`
	Key  string `yaml:"key" also:"private"`
	CA   string `yaml:"ca" also:"authority"`
}

type poolPart struct {
	Policy        string        `yaml:"policy" also:"algorithm balance strategy lb method"`
	Dispatch      bool          `yaml:"dispatch"`
	DispatchLimit time.Duration `yaml:"dispatch_limit" also:"dispatchtimeout"`
	LeaseTime     time.Duration `yaml:"lease_time" also:"ttl leasettl"`
	Grace         time.Duration `yaml:"grace"`
	Queue         queuePart     `yaml:"queue" also:"backlog"`
	Affinity      affinityPart  `yaml:"affinity" also:"stickiness sticky"`
	Distances     distances     `yaml:"distances" also:"locality costs"`
	Utilization   string        `yaml:"utilization" also:"formula load utilisation"`
	Health        healthPart    `yaml:"health" also:"check healthcheck probe"`
	Decisions     *int          `yaml:"decisions"`
	Servers       []serverPart  `yaml:"servers" also:"upstreams backends endpoints nodes targets"`
}

// queuePart is how requests wait. A size that is not written is the default; 0 means none.
type queuePart struct {
	Size *int          `yaml:"size" also:"length limit max"`
	Wait time.Duration `yaml:"wait" also:"timeout"`
}

type healthPart struct {
	HTTP     string        `yaml:"http" also:"path"`
	Status   int           `yaml:"status"`
	TCP      bool          `yaml:"tcp"`
	Interval time.Duration `yaml:"interval" also:"period"`
	Timeout  time.Duration `yaml:"timeout"`
	Rise     int           `yaml:"rise"`
	Fall     int           `yaml:"fall"`
}

type affinityPart struct {
	Hit  float64 `yaml:"hit"`
	Keys int     `yaml:"keys"`
}

// distances is how much dearer a server's location is to a client's.
type distances map[string]map[string]float64

type serverPart struct {
	ID       string            `yaml:"id" also:"name"`
	Address  string            `yaml:"address" also:"host url addr endpoint"`
	Public   string            `yaml:"public"`
	Slots    float64           `yaml:"slots" also:"maxconn concurrency capacity"`
	Speed    float64           `yaml:"speed" also:"weight"`
	Labels   map[string]string `yaml:"labels" also:"tags"`
	Location string            `yaml:"location" also:"zone region"`
}

type edgePart struct {
	ID              string         `yaml:"id" also:"name"`
	Masters         []string       `yaml:"masters" also:"controllers"`
	Admin           string         `yaml:"admin" also:"metrics"`
	Listeners       []listenerPart `yaml:"listeners" also:"frontends listen bind"`
	ConnectTimeout  time.Duration  `yaml:"connect_timeout"`
	ResponseTimeout time.Duration  `yaml:"response_timeout" also:"readtimeout"`
	DrainTime       time.Duration  `yaml:"drain_time" also:"draintimeout shutdowntimeout gracetime"`
	Engine          string         `yaml:"engine"`
	Loops           int            `yaml:"loops" also:"threads workers nbthread workerprocesses"`
	SingleCalls     bool           `yaml:"single_calls"`
	TLS             tlsPart        `yaml:"tls"`
	Insecure        bool           `yaml:"insecure"`
}

type listenerPart struct {
	Listen         string        `yaml:"listen" also:"bind address port"`
	Mode           modeWord      `yaml:"mode" also:"protocol type"`
	Routes         []routePart   `yaml:"routes" also:"rules locations"`
	TLS            *certsPart    `yaml:"tls" also:"ssl https"`
	H2C            bool          `yaml:"h2c" also:"http2"`
	TrustedProxies []prefixWord  `yaml:"trusted_proxies"`
	HeaderLimit    config.Size   `yaml:"header_limit" also:"maxheaderbytes"`
	HeaderCount    int           `yaml:"header_count"`
	HeaderTimeout  time.Duration `yaml:"header_timeout" also:"readheadertimeout"`
	IdleTimeout    time.Duration `yaml:"idle_timeout" also:"keepalivetimeout keepalive"`
	BodyLimit      config.Size   `yaml:"body_limit" also:"maxbodysize clientmaxbodysize"`
	ProxyProtocol  *proxyPart    `yaml:"proxy_protocol" also:"acceptproxy"`
	ServerTiming   bool          `yaml:"server_timing"`
}

// proxyPart is who begins connections with a PROXY header.
type proxyPart struct {
	Trusted []prefixWord `yaml:"trusted" also:"from"`
}

type routePart struct {
	Host       string        `yaml:"host" also:"hostname servername domain sni"`
	Path       string        `yaml:"path" also:"prefix pathprefix location"`
	Pool       string        `yaml:"pool" also:"cluster backend upstream service"`
	Link       linkWord      `yaml:"link"`
	LeaseParam string        `yaml:"lease_param"`
	Key        string        `yaml:"key" also:"hash"`
	Tenant     string        `yaml:"tenant"`
	Timeout    time.Duration `yaml:"timeout"`
	Servers    protocolWord  `yaml:"server_protocol" also:"protocol http2 grpc h2c"`
	ServerTLS  *trustPart    `yaml:"server_tls" also:"tls ssl"`
	SendProxy  proxyWord     `yaml:"send_proxy" also:"sendproxyprotocol"`
}

// certsPart is how an edge proves to clients who it is.
type certsPart struct {
	Certificates []pairPart `yaml:"certificates" also:"certs certificate"`
}

// pairPart is two PEM files: a certificate, with those between it and its authority
// behind it, and its private key.
type pairPart struct {
	Cert string `yaml:"cert" also:"certificate crt"`
	Key  string `yaml:"key" also:"privatekey"`
}

// trustPart is how servers prove to an edge who they are, and the edge to them.
type trustPart struct {
	CA         string `yaml:"ca" also:"cafile cacert"`
	ServerName string `yaml:"server_name" also:"sni"`
	Cert       string `yaml:"cert" also:"certificate crt"`
	Key        string `yaml:"key" also:"privatekey"`
}

type agentPart struct {
	Masters    []string          `yaml:"masters" also:"controllers"`
	Pool       string            `yaml:"pool" also:"cluster"`
	ID         string            `yaml:"id" also:"name server"`
	Address    string            `yaml:"address" also:"host url addr"`
	Public     string            `yaml:"public"`
	Slots      float64           `yaml:"slots" also:"concurrency capacity"`
	Speed      float64           `yaml:"speed" also:"weight"`
	Labels     map[string]string `yaml:"labels" also:"tags"`
	Location   string            `yaml:"location" also:"zone region"`
	Hook       string            `yaml:"hook" also:"dispatchhook webhook"`
	Sample     *bool             `yaml:"sample"`
	Interval   time.Duration     `yaml:"interval" also:"period"`
	Prometheus prometheusPart    `yaml:"prometheus" also:"scrape"`
	ORCA       orcaPart          `yaml:"orca"`
	Admin      string            `yaml:"admin" also:"api metrics listen"`
	TLS        tlsPart           `yaml:"tls"`
	Insecure   bool              `yaml:"insecure"`
}

type prometheusPart struct {
	URL      string        `yaml:"url"`
	Interval time.Duration `yaml:"interval"`
	Metrics  []seriesPart  `yaml:"metrics" also:"series"`
}

type seriesPart struct {
	Name     string  `yaml:"name"`
	Selector string  `yaml:"selector" also:"query"`
	Scale    float64 `yaml:"scale" also:"factor"`
}

type orcaPart struct {
	URL      string        `yaml:"url"`
	Interval time.Duration `yaml:"interval"`
}

// readSettings reads a file and everything that is wrong with it, as a *config.Error.
// Starting, reloading and checking all come here.
func readSettings(path string) (*settings, error) {
	src, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hinted(fmt.Errorf("there is no file %s", path), "evenkeel run --server http://HOST:PORT needs none; examples/ has some to start from")
	case errors.Is(err, fs.ErrPermission):
		return nil, hinted(fmt.Errorf("%s may not be read by this user", path), "chmod a+r "+path+", or start as its owner")
	case err != nil:
		return nil, hinted(err, "want the path of a YAML file")
	}
	f := config.Parse(path, src)
	s := &settings{}
	f.Decode(s)
	s.validate(f.Bad)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// lacks is the error of a file without the part that a role reads.
func lacks(path, part, example string) error {
	return hinted(fmt.Errorf("%s has no part %q, so there is nothing for this role to do", path, part), "such as\n         "+example)
}
