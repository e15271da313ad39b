package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/config"
)

// Settings is a file, or what flags say in its stead. A part that is nil was not
// given. Zero values stand for the defaults of the rooms that take them; docs/config.md
// says what they are.
type Settings struct {
	Master *Master         `yaml:"master" also:"masters controller"`
	Pools  map[string]Pool `yaml:"pools" also:"clusters upstreams backends services"`
	Edge   *Edge           `yaml:"edge" also:"edges proxy frontend frontends listeners"`
	Agent  *Agent          `yaml:"agent" also:"agents"`

	flags     []Effective              // of the role; nil: none
	values    []config.Value           // of the file; nil: there is none
	Files     *EdgeFiles               // what was read of the files that the edge's part names; nil: not yet
	hide      func(text string) string // replaces values of environment variables by their names; nil: there is no file
	lineOf    func(path string) int    // of the file, where a field stands; nil: there is no file
	file      string                   // its path; empty: there is no file
	healthTLS map[ServerTLS]*clientTLS // and the health parts; nil: not yet
}

type Master struct {
	ID          string   `yaml:"id" also:"name"`
	Listen      string   `yaml:"listen" also:"bind address"`
	Admin       string   `yaml:"admin" also:"api"`
	AdminAccess Access   `yaml:"admin_access" also:"operators auth"`
	OpenPools   bool     `yaml:"open_pools"`
	Drains      string   `yaml:"drains_file" also:"state statefile"`
	TLS         TLS      `yaml:"tls"`
	Insecure    bool     `yaml:"insecure"`
	Resolvers   []string `yaml:"resolvers" also:"resolver dns nameservers"`

	Election *Election `yaml:"election" also:"leaderelection ha"`
	Enrol    *Enrol    `yaml:"enrol" also:"enroll enrolment issuer"`
	Limits   Bounds    `yaml:"limits" also:"bounds maxconnections"`
}

// Bounds is how many peers a master serves, and what they may make it keep.
type Bounds struct {
	New        int         `yaml:"new" also:"handshakes"`
	Edges      int         `yaml:"edges"`
	Agents     int         `yaml:"agents"`
	Watches    int         `yaml:"watches"`
	EdgeBytes  config.Size `yaml:"edge_bytes"`
	AgentBytes config.Size `yaml:"agent_bytes"`
}

// TLS is what proves a component's role and name to the others, and theirs to it.
type TLS struct {
	Cert string `yaml:"cert" also:"certificate"`
	Key  string `yaml:"key" also:"private"`
	CA   string `yaml:"ca" also:"authority"`

	Denied string `yaml:"denied" also:"crl revoked denylist"`
}

type Pool struct {
	Policy        string              `yaml:"policy" also:"algorithm balance strategy lb method"`
	Dispatch      bool                `yaml:"dispatch"`
	DispatchLimit time.Duration       `yaml:"dispatch_limit" also:"dispatchtimeout"`
	HookFacts     []string            `yaml:"hook_facts"`
	LeaseTime     time.Duration       `yaml:"lease_time" also:"ttl leasettl"`
	Grace         time.Duration       `yaml:"grace"`
	Queue         Queue               `yaml:"queue" also:"backlog"`
	Affinity      Affinity            `yaml:"affinity" also:"stickiness sticky"`
	Distances     Distances           `yaml:"distances" also:"locality costs"`
	Utilization   string              `yaml:"utilization" also:"formula load utilisation"`
	Health        Health              `yaml:"health" also:"check healthcheck probe"`
	Decisions     *int                `yaml:"decisions"`
	Servers       []Server            `yaml:"servers" also:"upstreams backends endpoints nodes targets"`
	Agents        []string            `yaml:"agents"`
	Addresses     []string            `yaml:"addresses" also:"networks cidrs"`
	Edges         []string            `yaml:"edges"`
	Tenants       map[string]Tenant   `yaml:"tenants"`
	MaxInFlight   int                 `yaml:"max_in_flight" zero:"no" also:"maxrequests maxinflight"`
	Overflow      *Overflow           `yaml:"overflow" also:"spill spillover fallback"`
	Share         map[string]partText `yaml:"share" also:"canary split weights"`
	Resolve       resolveText         `yaml:"resolve" also:"dns discovery type"`
	ResolveAt     resolverText        `yaml:"resolve_at"`
	Resolvers     []string            `yaml:"resolvers" also:"resolver nameservers dnsresolvers"`
}

// Queue is how requests wait. A size that is not written is the default; 0 means none.
type Queue struct {
	Size *int          `yaml:"size" also:"length limit max"`
	Wait time.Duration `yaml:"wait" also:"timeout"`
}

// Tenant is what is configured of a tenant. It may be written as its weight alone, and tenants as a list of names.
type Tenant struct {
	Weight      float64 `yaml:"weight" short:"yes" zero:"no" also:"share"`
	MaxInFlight int     `yaml:"max_in_flight" zero:"no" also:"limit maxconn"`
}

// Overflow is where requests go that would wait too long, and when.
type Overflow struct {
	Pool string       `yaml:"pool" also:"to target"`
	When overflowText `yaml:"when" also:"if condition"`
}

type Affinity struct {
	Hit  float64 `yaml:"hit"`
	Keys int     `yaml:"keys"`
}

// Distances is how much more a server at a location costs a client at another.
type Distances map[string]map[string]float64

type Server struct {
	ID       string            `yaml:"id" also:"name"`
	Address  string            `yaml:"address" also:"host url addr endpoint"`
	Public   string            `yaml:"public"`
	Slots    float64           `yaml:"slots" also:"maxconn concurrency capacity"`
	Speed    float64           `yaml:"speed" also:"weight"`
	Labels   map[string]string `yaml:"labels" also:"tags"`
	Location string            `yaml:"location" also:"zone region"`

	MaxInFlight int  `yaml:"max_in_flight" zero:"no" also:"maxrequests maxinflight"`
	Backup      bool `yaml:"backup" also:"spare standby"`

	FromAgent []agentFieldText `yaml:"from_agent"`

	Pools []string `yaml:"pools" also:"alsoin"` // other pools in which it stands, besides the one under which it is listed
}

type Edge struct {
	ID              string        `yaml:"id" also:"name"`
	Masters         []string      `yaml:"masters" also:"controllers"`
	Admin           string        `yaml:"admin" also:"metrics"`
	AdminAccess     Access        `yaml:"admin_access" also:"operators auth"`
	Listeners       []Listener    `yaml:"listeners" also:"frontends listen bind"`
	ConnectTimeout  time.Duration `yaml:"connect_timeout"`
	ResponseTimeout time.Duration `yaml:"response_timeout" also:"readtimeout"`
	Via             string        `yaml:"via"`
	MaxHops         int           `yaml:"max_hops"`
	DrainTime       time.Duration `yaml:"drain_time" also:"draintimeout shutdowntimeout gracetime"`
	TCP             TCP           `yaml:"tcp" also:"sockets"`
	Connections     int           `yaml:"connections" also:"maxconn workerconnections maxconnections"`
	Loops           int           `yaml:"loops" also:"threads workers nbthread workerprocesses"`
	SingleCalls     bool          `yaml:"single_calls"`
	Resolvers       []string      `yaml:"resolvers" also:"resolver dns nameservers"`
	BufferMemory    config.Size   `yaml:"buffer_memory"`
	RespondAsync    RespondAsync  `yaml:"respond_async" also:"async"`
	AccessLog       string        `yaml:"access_log" also:"accesslog logformat"`
	Trace           Trace         `yaml:"trace" also:"tracing traceparent opentelemetry otel"`
	TLS             TLS           `yaml:"tls"`
	Insecure        bool          `yaml:"insecure"`
}

// Trace is how an edge takes part in distributed tracing. It may be written as whose traces are continued alone.
type Trace struct {
	From   tenantFromText `yaml:"from" short:"yes"`
	Sample *float64       `yaml:"sample" also:"samplerate samplingrate ratio"`
}

// RespondAsync is how requests are kept whose clients prefer a later answer.
type RespondAsync struct {
	Requests  int               `yaml:"requests" zero:"no" also:"maxrequests"`
	PerClient int               `yaml:"per_client" zero:"no"`
	Memory    config.Size       `yaml:"memory"`
	Body      config.Size       `yaml:"body" zero:"no"`
	Answer    config.Size       `yaml:"answer" zero:"no"`
	Keep      time.Duration     `yaml:"keep" zero:"no" also:"ttl"`
	Spool     string            `yaml:"spool" also:"directory folder"`
	SpoolSize config.Size       `yaml:"spool_size"`
	URL       string            `yaml:"url"`
	Edges     map[string]string `yaml:"edges"`
}

// TCP is how soon a peer that vanished is noticed.
type TCP struct {
	KeepaliveIdle     time.Duration `yaml:"keepalive_idle" also:"keepalive clitcpkaidle srvtcpkaidle"`
	KeepaliveInterval time.Duration `yaml:"keepalive_interval" also:"clitcpkaintvl srvtcpkaintvl"`
	KeepaliveCount    int           `yaml:"keepalive_count" also:"clitcpkacnt srvtcpkacnt"`
	UserTimeout       time.Duration `yaml:"user_timeout" also:"tcput"`
}

type Listener struct {
	Listen         string         `yaml:"listen" also:"bind address port"`
	Mode           modeText       `yaml:"mode" also:"protocol type"`
	Routes         []Route        `yaml:"routes" also:"rules locations"`
	TLS            *ListenerTLS   `yaml:"tls" also:"ssl https"`
	Allow          []PrefixText   `yaml:"allow" also:"whitelist allowfrom"`
	Deny           []PrefixText   `yaml:"deny" also:"blacklist denyfrom"`
	ClientLimits   ClientLimits   `yaml:"client_limits" also:"ratelimit limitreq limitconn"`
	H2C            bool           `yaml:"h2c" also:"http2"`
	TrustedProxies []PrefixText   `yaml:"trusted_proxies"`
	HeaderLimit    config.Size    `yaml:"header_limit" also:"maxheaderbytes"`
	HeaderCount    int            `yaml:"header_count" zero:"no"`
	HeaderTimeout  time.Duration  `yaml:"header_timeout" also:"readheadertimeout"`
	IdleTimeout    time.Duration  `yaml:"idle_timeout" also:"keepalivetimeout keepalive"`
	BodyLimit      config.Size    `yaml:"body_limit" also:"maxbodysize clientmaxbodysize"`
	ProxyProtocol  *ProxyProtocol `yaml:"proxy_protocol" also:"acceptproxy"`
	Paths          pathsText      `yaml:"paths" also:"normalizepath mergeslashes"`
	HalfClosed     halfClosedText `yaml:"half_closed" also:"abortonclose"`
	ServerTiming   bool           `yaml:"server_timing"`
}

// ClientLimits is what one client may take of a listener.
type ClientLimits struct {
	Connections  int          `yaml:"connections" also:"maxconn maxconnections"`
	OpenRequests int          `yaml:"open_requests" also:"concurrency inflight maxrequests"`
	Rate         float64      `yaml:"requests_per_second" also:"rate average rps"`
	Burst        int          `yaml:"burst"`
	By           string       `yaml:"by" also:"key sourcecriterion"`
	Exempt       []PrefixText `yaml:"exempt" also:"whitelist except"`
}

// ProxyProtocol is who begins connections with a PROXY header.
type ProxyProtocol struct {
	Trusted []PrefixText `yaml:"trusted" also:"from"`
}

type Route struct {
	Host       string         `yaml:"host" also:"hostname servername domain sni"`
	Path       string         `yaml:"path" also:"prefix pathprefix"`
	Upgrade    *[]string      `yaml:"upgrade" also:"upgradetypes"`
	Pool       string         `yaml:"pool" also:"cluster backend upstream service"`
	Link       Link           `yaml:"link"`
	LeaseParam string         `yaml:"lease_param"`
	Key        string         `yaml:"key" also:"hash"`
	Tenant     string         `yaml:"tenant"`
	TenantFrom tenantFromText `yaml:"tenant_from"`
	TenantJWT  *TenantJWT     `yaml:"tenant_jwt" also:"jwks jwt"`
	Timeout    time.Duration  `yaml:"timeout"`

	Facts

	Servers   protocolText     `yaml:"server_protocol" also:"protocol http2 grpc h2c"`
	ServerTLS *ServerTLS       `yaml:"server_tls" also:"tls ssl"`
	Paths     pathsText        `yaml:"paths" also:"normalizepath mergeslashes"`
	SendProxy proxyVersionText `yaml:"send_proxy" also:"sendproxyprotocol"`
	Waiting   string           `yaml:"while_waiting"`
	Async     bool             `yaml:"respond_async" also:"async"`
	Buffer    *config.Size     `yaml:"buffer_request" also:"proxyrequestbuffering httpbufferrequest requestbuffering"`
	BodyRate  *config.Size     `yaml:"body_rate"`
}

// Facts are where requests say what they say about their work.
type Facts struct {
	Size      string            `yaml:"size" also:"cost weight"`
	Class     string            `yaml:"class" also:"kind"`
	Priority  string            `yaml:"priority"`
	Labels    map[string]string `yaml:"labels" also:"subset selector"`
	Location  string            `yaml:"location" also:"zone region"`
	Locations Locations         `yaml:"locations" also:"geo"`
	Hold      string            `yaml:"hold"`
	Deadline  string            `yaml:"deadline"`
	FactsFrom tenantFromText    `yaml:"facts_from"`
}

// Locations is where clients are, by their addresses: a CSV file of prefixes and locations, which may be written alone,
// or a map.
type Locations struct {
	File     string            `yaml:"file" short:"yes"`
	Prefixes map[string]string `yaml:"prefixes"`
}

// TenantJWT is how tokens prove whose tenant a request is.
type TenantJWT struct {
	Keys     string `yaml:"keys" also:"jwks jwksfile publickey secret"`
	Header   string `yaml:"header"`
	Issuer   string `yaml:"issuer" also:"iss"`
	Audience string `yaml:"audience" also:"aud"`
}

// ListenerTLS is how an edge proves to clients who it is.
type ListenerTLS struct {
	Certificates []KeyPair           `yaml:"certificates" also:"certs certificate"`
	Policy       tlsPolicyText       `yaml:"policy" also:"sslprotocols sslminver ciphers minversion"`
	Clients      *ClientCertificates `yaml:"client_certificates" also:"clientauth mtls verify"`
	TicketKeys   string              `yaml:"ticket_keys" also:"sslsessionticketkey tlsticketkeys"`
}

// ClientCertificates is how clients prove to an edge who they are.
type ClientCertificates struct {
	CA       string `yaml:"ca" also:"cafile cacert"`
	Optional bool   `yaml:"optional"`
}

// KeyPair is two PEM files: a certificate, with those between it and its authority
// behind it, and its private key.
type KeyPair struct {
	Cert string `yaml:"cert" also:"certificate crt"`
	Key  string `yaml:"key" also:"privatekey"`
}

// ServerTLS is how servers prove to an edge who they are, and the edge to them.
type ServerTLS struct {
	CA         string `yaml:"ca" also:"cafile cacert"`
	ServerName string `yaml:"server_name" also:"sni"`
	Cert       string `yaml:"cert" also:"certificate crt"`
	Key        string `yaml:"key" also:"privatekey"`
}

type Agent struct {
	Masters []string `yaml:"masters" also:"controllers"`
	AgentPools
	ID            string            `yaml:"id" also:"name server"`
	Address       string            `yaml:"address" also:"host url addr"`
	Public        string            `yaml:"public"`
	Slots         float64           `yaml:"slots" also:"concurrency capacity"`
	Speed         float64           `yaml:"speed" also:"weight"`
	Labels        map[string]string `yaml:"labels" also:"tags"`
	Location      string            `yaml:"location" also:"zone region"`
	Hook          string            `yaml:"hook" also:"dispatchhook webhook"`
	EndHook       string            `yaml:"end_hook"`
	Sample        *bool             `yaml:"sample"`
	Cgroup        string            `yaml:"cgroup" also:"slice unit"`
	PID           string            `yaml:"pid" also:"pidfile process"`
	Interval      time.Duration     `yaml:"interval" also:"period" zero:"no"`
	Health        Health            `yaml:"health" also:"check healthcheck probe"`
	HealthAddress string            `yaml:"health_address"`
	Prometheus    Prometheus        `yaml:"prometheus" also:"scrape"`
	ORCA          ORCA              `yaml:"orca"`
	Admin         string            `yaml:"admin" also:"api metrics listen"`
	AdminAccess   Access            `yaml:"admin_access" also:"operators auth"`
	TLS           TLS               `yaml:"tls"`
	TokenFile     string            `yaml:"token_file" also:"jointoken"`
	Certs         string            `yaml:"certs" also:"certsdir"`
	Insecure      bool              `yaml:"insecure"`
}

// AgentPools are the pools that the agent's server joins.
type AgentPools struct {
	Pool  string   `yaml:"pool" also:"cluster"`
	Pools []string `yaml:"pools" also:"clusters"`
}

// JoinedPools returns all of them, each once: that of pool first.
func (p *AgentPools) JoinedPools() (names []string) {
	for _, name := range append([]string{p.Pool}, p.Pools...) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// firstPool returns the first of them; empty: there is none.
func (p *AgentPools) firstPool() string {
	for _, name := range p.JoinedPools() {
		return name
	}
	return ""
}

// Enrols reports whether the agent gets its certificate by a token.
func (a *Agent) Enrols() bool { return a.TokenFile != "" || a.Certs != "" }

type Prometheus struct {
	URL      string        `yaml:"url"`
	Interval time.Duration `yaml:"interval" zero:"no"`
	Metrics  []Series      `yaml:"metrics" also:"series"`
}

type Series struct {
	Name     string  `yaml:"name"`
	Selector string  `yaml:"selector" also:"query"`
	Scale    float64 `yaml:"scale" also:"factor"`
}

type ORCA struct {
	URL      string        `yaml:"url"`
	Interval time.Duration `yaml:"interval" zero:"no"`
}

// Read reads a file and everything that is wrong with it, as a *config.Error.
// Starting, reloading and checking all come here. more judge what is not known from the file alone.
func Read(path string, more ...func(s *Settings, bad func(path, problem string))) (*Settings, error) {
	src, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hint.With(fmt.Errorf("there is no file %s", path), "evenkeel run --server http://HOST:PORT needs none; examples/ has some to start from")
	case errors.Is(err, fs.ErrPermission):
		return nil, hint.With(fmt.Errorf("%s may not be read by this user", path), "start as a user who may read it, or give that user's group the right: chgrp GROUP "+path+" && chmod g+r "+path)
	case err != nil:
		return nil, hint.With(err, "want the path of a YAML file")
	}
	f := config.Parse(path, src, os.LookupEnv)
	s := &Settings{hide: f.Hide, file: path, lineOf: func(path string) int { return f.Position(path).Line }}
	s.values = f.Values()
	f.Decode(s)
	s.validate(f.Bad)
	for _, judge := range more {
		judge(s, f.Bad)
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// where returns the path of what stands in the file, with the position of one of its fields, for people; empty: there is no file.
func (s *Settings) where(path, field string) string {
	if s.lineOf == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s:%d)", path, s.file, s.lineOf(path+field))
}
