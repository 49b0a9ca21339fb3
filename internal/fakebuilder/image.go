package fakebuilder

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/grpchijack"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
)

// layer is a layer of a filesystem.
type layer struct {
	ocispecs.Descriptor
	DiffID digest.Digest
	blob   []byte            // nil: the registry has it, and the builder does not
	from   v1.Layer          // then
	files  map[string]string // by path, without a slash in front
}

// pack makes a layer of files. It stores them without compression: a digest in a test then does not depend on the
// release of Go.
func pack(text map[string]string) (layer, error) {
	var unpacked, packed bytes.Buffer
	w := tar.NewWriter(&unpacked)
	for _, path := range slices.Sorted(maps.Keys(text)) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644,
			Size: int64(len(text[path]))}); err != nil {
			return layer{}, err
		}
		if _, err := io.WriteString(w, text[path]); err != nil {
			return layer{}, err
		}
	}
	z, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	if err != nil {
		return layer{}, err
	}
	if err = w.Close(); err == nil {
		_, err = z.Write(unpacked.Bytes())
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return layer{}, err
	}
	return layer{blob: packed.Bytes(), files: text, DiffID: digest.FromBytes(unpacked.Bytes()),
		Descriptor: ocispecs.Descriptor{
			MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromBytes(packed.Bytes()),
			Size: int64(packed.Len())}}, nil
}

// keep puts a layer into the content store.
func (b *Builder) keep(ctx context.Context, l layer) error { return b.put(ctx, l.MediaType, l.blob) }

func (b *Builder) put(ctx context.Context, mediaType string, data []byte) error {
	d := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if _, err := b.store.Info(ctx, d.Digest); err == nil {
		return nil
	}
	return content.WriteBlob(ctx, b.store, d.Digest.String(), bytes.NewReader(data), d)
}

// source is the filesystem of a source. An artifact's content is not asked for.
func (s *solving) source(ctx context.Context, o output, op *pb.Op) (files, error) {
	id := op.GetSource().Identifier
	if strings.HasPrefix(id, "oci-layout://") {
		return s.given(ctx, id[strings.LastIndex(id, "@")+1:])
	}
	ref, ok := strings.CutPrefix(id, "docker-image://")
	if !ok {
		return s.with(ctx, nil, o, nil)
	}
	pull := s.b.o.Pull
	if pull == nil {
		pull = fromRegistry
	}
	image, err := pull(ctx, ref, v1.Platform{OS: op.Platform.GetOS(), Architecture: op.Platform.GetArchitecture(),
		Variant: op.Platform.GetVariant()})
	if err != nil {
		return nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	var all files
	for _, l := range layers {
		one, err := pulled(l)
		if err != nil {
			return nil, fmt.Errorf("pull %s: %w", ref, err)
		}
		all = append(all, one)
	}
	return all, nil
}

func fromRegistry(ctx context.Context, ref string, p v1.Platform) (v1.Image, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	return remote.Image(parsed, remote.WithContext(ctx), remote.WithPlatform(p))
}

// pulled is a layer of a registry.
func pulled(l v1.Layer) (out layer, err error) {
	sum, err := l.Digest()
	if err != nil {
		return out, err
	}
	diffID, err := l.DiffID()
	if err != nil {
		return out, err
	}
	mediaType, err := l.MediaType()
	if err != nil {
		return out, err
	}
	size, err := l.Size()
	if err != nil {
		return out, err
	}
	out = layer{from: l, DiffID: digest.Digest(diffID.String()), files: map[string]string{},
		Descriptor: ocispecs.Descriptor{
			MediaType: string(mediaType), Digest: digest.Digest(sum.String()), Size: size}}
	r, err := l.Uncompressed()
	if err != nil {
		return out, err
	}
	defer r.Close()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			return out, err
		}
		out.files[strings.TrimPrefix(h.Name, "/")] = string(text)
	}
}

// export brings a result where a request wants it, and says what BuildKit says then.
func (r *build) export(ctx context.Context, req *controlapi.SolveRequest,
	res *gateway.Result) (map[string]string, error) {
	answer := map[string]string{}
	for i, e := range req.Exporters {
		var err error
		switch e.Type {
		case client.ExporterImage:
			answer, err = r.image(ctx, e.Attrs, res)
		case client.ExporterLocal:
			err = r.local(ctx, i, req.Session, r.result(res.GetRef().GetId()))
		default:
			err = errNot("export " + e.Type)
		}
		if err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// local sends files to the caller.
func (r *build) local(ctx context.Context, exporter int, id string, all files) error {
	caller, err := r.b.sessions.Get(ctx, id, false)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fakebuilder-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for path, text := range all.all() {
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	root, err := fsutil.NewFS(dir)
	if err != nil {
		return err
	}
	return filesync.CopyToCaller(ctx, root, exporter, caller, func(int, bool) {})
}

// Session implements controlapi.ControlServer.
func (c *control) Session(stream controlapi.Control_SessionServer) error {
	conn, closed, md := grpchijack.Hijack(stream)
	defer conn.Close()
	ctx, cancel := context.WithCancel(stream.Context())
	go func() {
		<-closed
		cancel()
	}()
	return c.b.sessions.HandleConn(ctx, conn, md)
}

// image writes an image of one or several platforms into the content store.
func (r *build) image(ctx context.Context, attrs map[string]string, res *gateway.Result) (map[string]string, error) {
	if packing := attrs[string(exptypes.OptKeyLayerCompression)]; packing != "gzip" {
		return nil, errNot("pack by " + packing)
	}
	pushed := attrs[string(exptypes.OptKeyPush)] == "true"
	manifestNotes, indexNotes := map[string]string{}, map[string]string{}
	for key, value := range attrs {
		if name, ok := strings.CutPrefix(key, "annotation-manifest."); ok {
			manifestNotes[name] = value
		}
		if name, ok := strings.CutPrefix(key, "annotation-index."); ok {
			indexNotes[name] = value
		}
	}
	if one := res.GetRef(); one != nil {
		all := r.result(one.Id)
		d, config, err := r.manifest(ctx, all, res.Metadata[exptypes.ExporterImageConfigKey], manifestNotes)
		if err == nil && pushed {
			err = r.push(ctx, strings.Split(attrs[string(exptypes.OptKeyName)], ","), d, config, all)
		}
		if err != nil {
			return nil, err
		}
		return described(d, config)
	}
	if pushed {
		return nil, errNot("push several platforms")
	}
	var ps exptypes.Platforms
	if err := json.Unmarshal(res.Metadata[exptypes.ExporterPlatformsKey], &ps); err != nil {
		return nil, err
	}
	index := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex,
		Annotations: indexNotes}
	for _, p := range ps.Platforms {
		d, _, err := r.manifest(ctx, r.result(res.GetRefs().Refs[p.ID].Id),
			res.Metadata[exptypes.ExporterImageConfigKey+"/"+p.ID], manifestNotes)
		if err != nil {
			return nil, err
		}
		d.Platform = &p.Platform
		index.Manifests = append(index.Manifests, d)
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return nil, err
	}
	d := ocispecs.Descriptor{MediaType: index.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := r.b.put(ctx, d.MediaType, data); err != nil {
		return nil, err
	}
	return described(d, "")
}

// rawManifest is a manifest as it is pushed.
type rawManifest struct {
	ocispecs.Descriptor
	data []byte
}

func (m rawManifest) RawManifest() ([]byte, error) { return m.data, nil }
func (m rawManifest) MediaType() (types.MediaType, error) {
	return types.MediaType(m.Descriptor.MediaType), nil
}

// push brings an image to registries.
func (r *build) push(ctx context.Context, names []string, manifest ocispecs.Descriptor, config digest.Digest,
	all files) error {
	read := func(d digest.Digest) ([]byte, error) {
		return content.ReadBlob(ctx, r.b.store, ocispecs.Descriptor{Digest: d})
	}
	data, err := read(manifest.Digest)
	if err != nil {
		return err
	}
	text, err := read(config)
	if err != nil {
		return err
	}
	for _, to := range names {
		ref, err := name.ParseReference(to)
		if err != nil {
			return err
		}
		blobs := []v1.Layer{static.NewLayer(text, types.OCIConfigJSON)}
		for _, l := range all {
			if l.blob == nil {
				blobs = append(blobs, l.from)
			} else {
				blobs = append(blobs, static.NewLayer(l.blob, types.OCILayer))
			}
		}
		for _, blob := range blobs {
			if err := remote.WriteLayer(ref.Context(), blob, remote.WithContext(ctx)); err != nil {
				return err
			}
		}
		if err := remote.Put(ref, rawManifest{manifest, data}, remote.WithContext(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// described is what BuildKit's exporter says of an image.
func described(d ocispecs.Descriptor, config digest.Digest) (map[string]string, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	answer := map[string]string{
		exptypes.ExporterImageDigestKey:     d.Digest.String(),
		exptypes.ExporterImageDescriptorKey: base64.StdEncoding.EncodeToString(data),
	}
	if config != "" {
		answer[exptypes.ExporterImageConfigDigestKey] = config.String()
	}
	return answer, nil
}

// manifest writes manifest and config of one platform, in BuildKit's form.
func (r *build) manifest(ctx context.Context, all files, config []byte,
	notes map[string]string) (out ocispecs.Descriptor, _ digest.Digest, err error) {
	rootfs := ocispecs.RootFS{Type: "layers"}
	m := ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Annotations: notes}
	for _, l := range all {
		rootfs.DiffIDs = append(rootfs.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, l.Descriptor)
	}
	parts := map[string]json.RawMessage{}
	if err := json.Unmarshal(config, &parts); err != nil {
		return out, "", err
	}
	if parts["rootfs"], err = json.Marshal(rootfs); err != nil {
		return out, "", err
	}
	if config, err = json.Marshal(parts); err != nil {
		return out, "", err
	}
	m.Config = ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromBytes(config),
		Size: int64(len(config))}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return out, "", err
	}
	if err := r.b.put(ctx, m.Config.MediaType, config); err != nil {
		return out, "", err
	}
	out = ocispecs.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return out, m.Config.Digest, r.b.put(ctx, m.MediaType, data)
}
