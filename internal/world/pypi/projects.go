package pypi

import "strings"

// table has the stand-ins of what Ray's extras, tensorflow and torch need, with the dependencies
// that the real ones have, simplified. One line a version; see small for the form. A project is
// spelled here as those that need it spell it: pip 23.0, which takes METADATA by PEP 658, stumbles
// over Name: dm-tree where dm_tree was asked for.
//
//nolint:lll // one line a version
const table = `
click 8.1.7 python=>=3.7
click 8.2.1 python=>=3.10
filelock 3.16.1
jsonschema 4.23.0 script=jsonschema:jsonschema.cli:main | attrs>=22.2.0; jsonschema-specifications>=2023.03.6; referencing>=0.28.4; rpds-py>=0.7.1
jsonschema-specifications 2024.10.1 | referencing>=0.31.0
referencing 0.35.1 | attrs>=22.2.0; rpds-py>=0.7.0
rpds-py 0.21.0 imports=rpds tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=60000
attrs 24.2.0 imports=attr,attrs
msgpack 1.1.0 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=40000
packaging 24.2 python=>=3.8
protobuf 5.28.3 imports=google.protobuf tag=cp38-abi3-manylinux2014_x86_64 size=80000
pyyaml 6.0.2 imports=yaml tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=90000
requests 2.32.3 python=>=3.8 | charset-normalizer<4,>=2; idna<4,>=2.5; urllib3<3,>=1.21.1; certifi>=2017.4.17
charset-normalizer 3.4.0 imports=charset_normalizer script=normalizer:charset_normalizer.cli:main
idna 3.10
urllib3 2.2.3
certifi 2024.8.30
aiohttp 3.10.10 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=120000 | aiohappyeyeballs>=2.3.0; aiosignal>=1.1.2; attrs>=17.3.0; frozenlist>=1.1.1; multidict<7.0,>=4.5; yarl<2.0,>=1.12.0
aiohttp_cors 0.7.0 | aiohttp>=1.1
aiohappyeyeballs 2.4.3
aiosignal 1.3.1 | frozenlist>=1.1.0
frozenlist 1.5.0 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
multidict 6.1.0 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
yarl 1.17.1 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 | idna>=2.0; multidict>=4.0; propcache>=0.2.0
propcache 0.2.0 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
colorful 0.5.6
py-spy 0.4.0 tag=py2.py3-none-manylinux_2_5_x86_64.manylinux1_x86_64 size=200000
grpcio 1.67.1 imports=grpc tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=600000
opencensus 0.11.4 nometa | opencensus-context>=0.1.3; six~=1.16; google-api-core<3.0.0,>=1.0.0
opencensus-context 0.1.3 imports=opencensus.common nometa
google-api-core 2.22.0 imports=google.api_core | googleapis-common-protos<2.0,>=1.56.2; protobuf>=3.19.5; google-auth<3.0,>=2.14.1; requests<3.0,>=2.18.0; proto-plus<2.0,>=1.22.3
googleapis-common-protos 1.65.0 imports=google.api | protobuf>=3.20.2
google-auth 2.35.0 imports=google.auth | cachetools<6.0,>=2.0.0; pyasn1-modules>=0.2.1; rsa<5,>=3.1.4
proto-plus 1.25.0 imports=proto | protobuf<6.0,>=3.19.0
cachetools 5.5.0
pyasn1 0.6.1
pyasn1-modules 0.4.1 | pyasn1<0.7.0,>=0.4.6
rsa 4.9 script=pyrsa-keygen:rsa.cli:keygen | pyasn1>=0.1.3
opentelemetry-api 1.30.0 imports=opentelemetry.context | deprecated>=1.2.6; importlib-metadata>=6.0
opentelemetry-sdk 1.30.0 imports=opentelemetry.sdk | opentelemetry-api==1.30.0; opentelemetry-semantic-conventions==0.51b0; typing-extensions>=3.7.4
opentelemetry-semantic-conventions 0.51b0 imports=opentelemetry.semconv | opentelemetry-api==1.30.0
opentelemetry-exporter-prometheus 0.51b0 imports=opentelemetry.exporter.prometheus | opentelemetry-api~=1.12; opentelemetry-sdk~=1.30.0; prometheus_client<1.0.0,>=0.5.0
opentelemetry-proto 1.30.0 imports=opentelemetry.proto | protobuf<6.0,>=5.0
deprecated 1.2.14 | wrapt<2,>=1.10
importlib-metadata 8.5.0 | zipp>=3.20
zipp 3.20.2
pydantic 2.9.2 | annotated-types>=0.6.0; pydantic-core==2.23.4; typing-extensions>=4.6.1
pydantic-core 2.23.4 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=200000 | typing-extensions!=4.7.0,>=4.6.0
annotated-types 0.7.0
typing-extensions 4.12.2
prometheus_client 0.21.0
smart_open 7.0.5 | wrapt
wrapt 1.16.0 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
virtualenv 20.27.1 script=virtualenv:virtualenv.cli:main | distlib<1,>=0.3.7; filelock<4,>=3.12.2; platformdirs<5,>=3.9.1
distlib 0.3.9
platformdirs 4.3.6
pandas 2.2.3 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=900000 | numpy>=1.23.2; python-dateutil>=2.8.2; pytz>=2020.1; tzdata>=2022.7
numpy 1.26.4 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=900000 script=f2py:numpy.f2py:main
numpy 2.1.3 python=>=3.10 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=900000 script=f2py:numpy.f2py:main
python-dateutil 2.9.0.post0 imports=dateutil | six>=1.5
pytz 2024.2
tzdata 2024.2
six 1.16.0
tensorboardX 2.6.2.2 imports=tensorboardX | numpy; packaging; protobuf>=3.20
pyarrow 18.0.0 tag=cp311-cp311-manylinux_2_28_x86_64 size=1500000
fsspec 2024.10.0
dm_tree 0.1.8 imports=tree tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
gymnasium 1.1.1 | numpy>=1.21.0; cloudpickle>=1.2.0; typing-extensions>=4.3.0; farama-notifications>=0.0.1
cloudpickle 3.1.0
farama-notifications 0.0.4
lz4 4.3.3 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
ormsgpack 1.7.0 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
scipy 1.14.1 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 size=1200000 | numpy<2.3,>=1.23.5
fastapi 0.115.4 | starlette<0.42.0,>=0.40.0; pydantic>=1.7.4; typing-extensions>=4.8.0
starlette 0.41.2 | anyio<5,>=3.4.0
anyio 4.6.2.post1 | idna>=2.8; sniffio>=1.1
sniffio 1.3.1
h11 0.14.0
watchfiles 0.24.0 script=watchfiles:watchfiles.cli:main tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64 | anyio>=3.0.0
httptools 0.6.4 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
python-dotenv 1.0.1 imports=dotenv
uvloop 0.21.0 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
websockets 13.1 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
absl-py 2.1.0 imports=absl
astunparse 1.6.3 | six<2.0,>=1.6.1
flatbuffers 24.3.25
gast 0.6.0
termcolor 2.5.0
keras 3.6.0 | absl-py; numpy; packaging
networkx 3.4.2
jinja2 3.1.4 | MarkupSafe>=2.0
MarkupSafe 3.0.2 tag=cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64
sympy 1.13.1 script=isympy:isympy:main | mpmath<1.4,>=1.1.0
mpmath 1.3.0
`

// smallProjects are the projects of the table and uvicorn, the one among them with an extra of its own.
func smallProjects() []Project {
	out := []Project{{
		Name: "uvicorn", Version: "0.32.0", Requires: []string{"click>=7.0", "h11>=0.8"},
		Extras: map[string][]string{"standard": {"httptools>=0.5.0", "python-dotenv>=0.13", "pyyaml>=5.1",
			"uvloop>=0.14.0; sys_platform != 'win32'", "watchfiles>=0.13", "websockets>=10.4"}},
	}}
	for line := range strings.Lines(table) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, small(line))
		}
	}
	return out
}
