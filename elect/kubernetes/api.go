package kubernetes

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// lease is what we use of coordination.k8s.io/v1 Lease.
type lease struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Metadata   metadata  `json:"metadata"`
	Spec       leaseSpec `json:"spec"`
}

type metadata struct {
	Name            string            `json:"name"`
	Namespace       string            `json:"namespace,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

type leaseSpec struct {
	Holder      string `json:"holderIdentity"`
	Seconds     int64  `json:"leaseDurationSeconds"`
	Acquired    string `json:"acquireTime,omitempty"`
	Renewed     string `json:"renewTime,omitempty"`
	Transitions int64  `json:"leaseTransitions"`
}

type leaseList struct {
	Items []lease `json:"items"`
}

// microTime is how the API writes times of a Lease.
const microTime = "2006-01-02T15:04:05.000000Z07:00"

// status is how the API says what is wrong.
type status struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (s *status) Error() string {
	return fmt.Sprintf("the API server answered %d %s: %s", s.Code, s.Reason, s.Message)
}

func hasCode(err error, code int) bool {
	var s *status
	return errors.As(err, &s) && s.Code == code
}

// api speaks to the API server about the Leases of one namespace.
type api struct {
	leases    string // URL
	tokenFile string
	client    *http.Client
}

// Where a pod finds its service account.
const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount/"

func newAPI(cfg *Config) (*api, error) {
	server := cfg.Server
	if server == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("kubernetes: not in a cluster, for KUBERNETES_SERVICE_HOST and _PORT are not set: name the server")
		}
		server = "https://" + net.JoinHostPort(host, port)
	}
	roots, err := authorities(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	namespace := cfg.Namespace
	if namespace == "" {
		own, err := os.ReadFile(accountFolder + "namespace")
		if err != nil {
			return nil, fmt.Errorf("kubernetes: which namespace: %w", err)
		}
		namespace = strings.TrimSpace(string(own))
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 1,
		IdleConnTimeout: time.Minute, TLSHandshakeTimeout: cfg.TTL, ForceAttemptHTTP2: false}
	a := &api{leases: server + "/apis/coordination.k8s.io/v1/namespaces/" + url.PathEscape(namespace) + "/leases",
		tokenFile: cfg.TokenFile, client: &http.Client{Transport: transport}}
	if a.tokenFile == "" {
		a.tokenFile = accountFolder + "token"
	}
	return a, nil
}

func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		file = accountFolder + "ca.crt"
		if _, err := os.Stat(file); err != nil {
			return nil, nil // the system's
		}
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("kubernetes: %s has no certificate in it", file)
	}
	return roots, nil
}

// mostAnswer bounds what is read of an answer.
const mostAnswer = 16 << 20

// do sends body, if any, and reads the answer into into. A *status says that the API
// server would not.
func (a *api) do(ctx context.Context, method, path string, body, into any) error {
	var in io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("kubernetes: %w", err)
		}
		in = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.leases+path, in)
	if err != nil {
		return fmt.Errorf("kubernetes: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch token, err := os.ReadFile(a.tokenFile); { // each time, for it is replaced every hour
	case err == nil:
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("kubernetes: token: %w", err)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		var told *url.Error
		if errors.As(err, &told) {
			err = told.Err // without the URL, which may hold a secret
		}
		return fmt.Errorf("kubernetes: %s %s: %w", method, req.URL.Path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return fmt.Errorf("kubernetes: %s %s: %w", method, req.URL.Path, err)
	}
	if resp.StatusCode >= 300 {
		s := &status{Message: strings.TrimSpace(string(answer[:min(len(answer), 200)]))}
		_ = json.Unmarshal(answer, s) // a proxy in between may have said it in other words
		s.Code = resp.StatusCode
		return fmt.Errorf("kubernetes: %s %s: %w", method, req.URL.Path, s)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("kubernetes: %s %s: %w", method, req.URL.Path, err)
	}
	return nil
}

func (a *api) list(ctx context.Context, selector string) ([]lease, error) {
	var all leaseList
	err := a.do(ctx, http.MethodGet, "?labelSelector="+url.QueryEscape(selector), nil, &all)
	return all.Items, err
}

func (a *api) get(ctx context.Context, name string) (l lease, err error) {
	err = a.do(ctx, http.MethodGet, "/"+name, nil, &l)
	return l, err
}

// create answers 409 if there is one of that name.
func (a *api) create(ctx context.Context, l lease) (made lease, err error) {
	err = a.do(ctx, http.MethodPost, "", l, &made)
	return made, err
}

// update answers 409 if the lease is not in the version that l names.
func (a *api) update(ctx context.Context, l lease) (now lease, err error) {
	err = a.do(ctx, http.MethodPut, "/"+l.Metadata.Name, l, &now)
	return now, err
}
