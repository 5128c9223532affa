"""Composes the golden messages beside this file from the samples one folder up and the layout rules of mp-protocol 1.4 and 2.2.

Nothing of the product is used or read: a golden that came out of the product would only prove that it does not change.
Run it after changing a sample or a rule: python3 compose.py
"""
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
DECLARATION = '<?xml version="1.0" encoding="UTF-16"?>\n'
END = "\n[00 00 0D 0A]\n"            # a NUL that Body/@Length counts, and a CR LF that it does not
CAPTURED = "403838f7-69bb-43d5-8362-28a5755b97b5"


def sample(name):
    return (HERE.parent / name).read_text()


def width(text):
    return len(text.encode("utf-16-le"))


def envelope(endpoint, ranges, file_type="", hook_property=""):
    """msg-header-signed.xml with what differs between endpoints; keys and signatures stay its placeholders."""
    text = sample("msg-header-signed.xml").rstrip("\n")
    text = text.replace('<Body Type="ByteRange" Length="762" Offset="0" />', ranges)
    text = text.replace("MP_PolicyManager", endpoint).replace("<ReplyMode>Sync<", "<ReplyMode>ASync<")
    if file_type:
        text = text.replace("<Hooks>", f"<FileType>{file_type}</FileType><Hooks>")
    if hook_property:
        text = text.replace("</Hook2>", f'<Property Name="FileType">{hook_property}</Property></Hook2>')
    return text


def body(length, offset=0):
    return f'<Body Type="ByteRange" Length="{length}" Offset="{offset}" />'


def write(name, header, stream):
    (HERE / f"{name}.txt").write_text(header + "\n" + stream, newline="")


def inline(name, endpoint, text, **relay):
    write(name, envelope(endpoint, body(width(text) + 2), **relay), text + END)


def inventory(name, endpoint, text, action):
    """The three layouts of 2.2: R1 is the report with an empty body, R2 the whole one."""
    empty = text[:text.index("<ReportBody>")] + "<ReportBody /></Report>"
    r1, r2 = width(empty), width(text)
    inline(name + "-inline", endpoint, text)
    attachment = f'<Attachment Type="ByteRange" Name="{{00000000-0000-0000-0000-0000000000{action}}}" Offset="{r1 + 4}" Length="{r2}" />'
    write(name + "-attach", envelope(endpoint, attachment + body(r1 + 2)), empty + END + text + END)
    captured = (f'<Attachment Type="ByteRange" Length="{r1}" Name="{CAPTURED}" Offset="0" />'
                f'<Attachment Length="{r2}" Offset="{r1 + 4}" />' + body(r2 + 2, r1 + 4))
    write(name + "-captured", envelope(endpoint, captured), empty + END + text + END)


def attached(name, endpoint, text, file_name, content, **relay):
    attachment = f'<Attachment Type="ByteRange" Name="{file_name}" Offset="{width(text) + 4}" Length="{len(content)}" />'
    write(name, envelope(endpoint, attachment + body(width(text) + 2), **relay), text + END + "[file]\n" + content)


def sample_text(name):
    return sample(name).rstrip("\n")


def main():
    inventory("ddr", "MP_DdrEndpoint", sample_text("ddr-full.xml"), "03")
    inventory("hinv-full", "MP_HinvEndpoint", sample_text("hinv-full.xml"), "01")
    inventory("hinv-delta", "MP_HinvEndpoint", sample_text("hinv-delta.xml"), "01")
    inventory("sinv-full", "MP_SinvEndpoint", sample_text("sinv-full.xml"), "02")

    conf = ("setting = value\n" * 60)[:812]
    attached("file-collection", "MP_SinvCollFileEndpoint", sample_text("file-collection.xml"), "agent.conf", conf)
    attached("file-collection-path", "MP_SinvCollFileEndpoint", sample_text("file-collection.xml"), "/etc/contoso/agent.conf", conf)

    inline("status", "StatusReceiver", sample_text("status.xml"))
    inline("state", "MP_RelayEndpoint", sample_text("state-messages.xml"), file_type="SMX")
    inline("state-hookprop", "MP_RelayEndpoint", sample_text("state-messages.xml"), hook_property="SMX")
    metering = sample_text("metering.xml")
    inline("metering", "MP_RelayEndpoint", metering, file_type="SWM")
    use = ('<HistoricalMeterData UserName="operator" StartTime="20260115090000.000000+000" EndTime="20260115100000.000000+000" '
           'UsageCount="3" UsageTime="420">')
    inline("metering-attributes", "MP_RelayEndpoint", metering.replace("<HistoricalMeterData>", use), file_type="SWM")

    # IDMIF: the header report alone in the body, with the action id of its own (5.1), the file as attachment (2.2).
    mif = 'Start Component\r\n  Name = "Machine"\r\nEnd Component\r\n'
    for name, action in (("idmif", "11"), ("idmif-12", "12")):
        header = sample_text("hinv-header-full.xml").replace("000000000001}", f"0000000000{action}}}")
        header = header.replace("<Description>Hardware<", "<Description>IDMIF<")
        attached(name, "MP_RelayEndpoint", DECLARATION + header, "asset.mif", mif, file_type="MIF")


if __name__ == "__main__":
    main()
