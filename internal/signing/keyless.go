package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/raybuild/raybuild/internal/registry"
)

// tokenWait is the longest wait for a token of CI, and for each server of Sigstore.
const tokenWait = 30 * time.Second

// errNoToken says that this is no CI job with a token.
var errNoToken = errors.New("there is no OIDC token here: GitHub Actions gives one to a job with the permission " +
	"\"id-token: write\", and GitLab one in id_tokens as SIGSTORE_ID_TOKEN, with the audience sigstore")

// sessionAge is how old a session may be that signs once more. Its certificate lives for ten minutes.
const sessionAge = 5 * time.Minute

// keyless signs by the OIDC token of a CI job.
type keyless struct {
	o KeyOptions

	mu    sync.Mutex
	last  *keylessSession // the last one; nil: there was none
	began time.Time       // when it began
}

func openKeyless(o KeyOptions) (*keyless, error) {
	if o.Getenv("SIGSTORE_ID_TOKEN") == "" && o.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL") == "" {
		return nil, errNoToken
	}
	return &keyless{o: o}, nil
}

// session returns what signs with one certificate: the last one, if it is young.
func (k *keyless) session(ctx context.Context) (*keylessSession, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != nil && time.Since(k.began) < sessionAge {
		return k.last, nil
	}
	now := time.Now()
	s, err := k.begin(ctx)
	if err != nil {
		return nil, err
	}
	k.last, k.began = s, now
	return s, nil
}

// begin gets a token, and returns what signs with one certificate. The certificate lives for ten minutes.
func (k *keyless) begin(ctx context.Context) (*keylessSession, error) {
	token, err := idToken(ctx, k.o.Getenv)
	if err != nil {
		return nil, err
	}
	material, err := trustedRoot(k.o.Trust)
	if err != nil {
		return nil, err
	}
	servers, err := signingConfig(k.o)
	if err != nil {
		return nil, err
	}
	pair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	fulcio, err := root.SelectService(servers.FulcioCertificateAuthorityURLs(), sign.FulcioAPIVersions, time.Now())
	if err != nil {
		return nil, fmt.Errorf("find a server for certificates: %w", err)
	}
	return &keylessSession{pair: pair, servers: servers, options: sign.BundleOptions{TrustedRoot: material,
		CertificateProvider: &oneCertificate{from: sign.NewFulcio(&sign.FulcioOptions{BaseURL: fulcio.URL,
			Timeout: tokenWait, Retries: 2})},
		CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token}}}, nil
}

// keylessSession signs with one certificate. It is safe for concurrent use.
type keylessSession struct {
	pair    sign.Keypair
	servers *root.SigningConfig
	options sign.BundleOptions // without logs and timestamps: the clients for those are for one signature
}

// log adds the servers that log a signature and tell its time.
func (s *keylessSession) log(o *sign.BundleOptions) error {
	now := time.Now()
	if all := s.servers.RekorLogURLs(); len(all) > 0 {
		logs, err := root.SelectServices(all, s.servers.RekorLogURLsConfig(), sign.RekorAPIVersions, now)
		if err != nil {
			return fmt.Errorf("find a server for the log: %w", err)
		}
		for _, l := range logs {
			o.TransparencyLogs = append(o.TransparencyLogs, sign.NewRekor(&sign.RekorOptions{
				BaseURL: l.URL, Timeout: tokenWait, Retries: 2, Version: l.MajorAPIVersion}))
		}
	}
	if all := s.servers.TimestampAuthorityURLs(); len(all) > 0 {
		stamps, err := root.SelectServices(all, s.servers.TimestampAuthorityURLsConfig(),
			sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return fmt.Errorf("find a server for timestamps: %w", err)
		}
		for _, t := range stamps {
			o.TimestampAuthorities = append(o.TimestampAuthorities, sign.NewTimestampAuthority(
				&sign.TimestampAuthorityOptions{URL: t.URL, Timeout: tokenWait, Retries: 2}))
		}
	}
	return nil
}

// oneCertificate asks for one certificate, for all manifests of an image and all claims about it.
type oneCertificate struct {
	from sign.CertificateProvider
	mu   sync.Mutex
	der  []byte
}

// GetCertificate implements sign.CertificateProvider.
func (o *oneCertificate) GetCertificate(ctx context.Context, pair sign.Keypair,
	opts *sign.CertificateProviderOptions) (der []byte, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.der == nil {
		if o.der, err = o.from.GetCertificate(ctx, pair, opts); err != nil {
			return nil, err
		}
	}
	return o.der, nil
}

// sign signs a manifest, and attaches the bundle to it.
func (s *keylessSession) sign(ctx context.Context, c *registry.Client, ref string) error {
	d, err := digestOf(ref)
	if err != nil {
		return err
	}
	text, err := Claim{Type: signPredicate, Predicate: []byte("{}")}.statement(d)
	if err != nil {
		return err
	}
	data, err := s.bundle(ctx, text)
	if err != nil {
		return err
	}
	_, err = c.Attach(ctx, ref, bundleDocument(data, signPredicate))
	return err
}

// bundle signs a statement.
func (s *keylessSession) bundle(ctx context.Context, text []byte) ([]byte, error) {
	o := s.options
	o.Context = ctx
	if err := s.log(&o); err != nil {
		return nil, err
	}
	made, err := sign.Bundle(&sign.DSSEData{Data: text, PayloadType: statementType}, s.pair, o)
	if err != nil {
		return nil, err
	}
	data, err := protojson.Marshal(made)
	if err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	return data, nil
}

// signingConfig reads which servers sign.
func signingConfig(o KeyOptions) (*root.SigningConfig, error) {
	if o.Config != "" {
		c, err := root.NewSigningConfigFromPath(o.Config)
		if err != nil {
			return nil, fmt.Errorf("read servers of Sigstore %q: %w: it is a signing_config.json", o.Config, err)
		}
		return c, nil
	}
	c, err := root.FetchSigningConfigWithOptions(publicSigstore(o.Trust.Cache))
	if err != nil {
		return nil, fmt.Errorf("fetch servers of the public Sigstore: %w: name those of a private one by "+
			"--sign-config", err)
	}
	return c, nil
}

// idToken returns the OIDC token of this CI job.
func idToken(ctx context.Context, getenv Getenv) (string, error) {
	if token := getenv("SIGSTORE_ID_TOKEN"); token != "" {
		return token, nil
	}
	at, err := url.Parse(getenv("ACTIONS_ID_TOKEN_REQUEST_URL"))
	if err != nil || at.Host == "" {
		return "", errNoToken
	}
	query := at.Query()
	query.Set("audience", "sigstore")
	at.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(ctx, tokenWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return "", fmt.Errorf("ask for the job's OIDC token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for the job's OIDC token: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ Value string }
	err = json.NewDecoder(io.LimitReader(resp.Body, maxPayload)).Decode(&answer)
	if resp.StatusCode != http.StatusOK || err != nil || answer.Value == "" {
		return "", fmt.Errorf("ask for the job's OIDC token: %s answered %s without a token: has the job the "+
			"permission \"id-token: write\"?", at.Host, resp.Status)
	}
	return answer.Value, nil
}
