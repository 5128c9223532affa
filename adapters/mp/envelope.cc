#include "adapters/mp/envelope.h"

#include "adapters/mp/signing_key.h"
#include "adapters/mp/xml_writer.h"

namespace greengate::adapters {
namespace {

constexpr std::string_view byte_order_mark = "\xFF\xFE";

void write_attachment(XmlWriter& to, const ByteRange& range, InventoryLayout layout) {
  // The captured layout is reproduced attribute by attribute, order included.
  if (layout == InventoryLayout::captured) {
    to.markup(range.typed ? "<Attachment Type=\"ByteRange\" Length=\"" : "<Attachment Length=\"");
    to.unsigned_number(range.length);
    if (!range.name.empty()) {
      to.markup("\" Name=\"");
      to.attribute(range.name);
    }
    to.markup("\" Offset=\"");
    to.unsigned_number(range.offset);
    to.markup("\" />");
    return;
  }
  to.markup("<Attachment Type=\"ByteRange\" Name=\"");
  to.attribute(range.name);
  to.markup("\" Offset=\"");
  to.unsigned_number(range.offset);
  to.markup("\" Length=\"");
  to.unsigned_number(range.length);
  to.markup("\" />");
}

void write_property(XmlWriter& to, std::string_view name, std::string_view value) {
  if (value.empty()) return;
  to.markup("<Property Name=\"");
  to.attribute(name);
  to.markup("\">");
  to.text(value);
  to.markup("</Property>");
}

void write_hooks(XmlWriter& to, const MpSettings& settings, const Envelope& envelope) {
  to.markup("<Hooks>");
  if (const ClientAuth* auth = envelope.auth) {
    to.markup("<Hook2 Name=\"clientauth\">");
    write_property(to, "AuthSenderMachine", auth->machine);
    write_property(to, "PublicKey", auth->public_key);
    write_property(to, "ClientIDSignature", auth->client_id_signature);
    write_property(to, "PayloadSignature", auth->payload_signature);
    write_property(to, "ClientCapabilities", settings.client_capabilities);
    write_property(to, "HashAlgorithm", hash_oid(settings.hash));
    if (!settings.proxy_property.empty())
      write_property(to, settings.proxy_property, auth->proxy_sms_id);
    if (settings.relay_filetype_form == FileTypeForm::hookprop)
      write_property(to, "FileType", envelope.file_type);
    to.markup("</Hook2>");
  }
  if (settings.compress) to.markup("<Hook3 Name=\"zlib-compress\" />");
  to.markup("</Hooks>");
}

}  // namespace

EnvelopeText write_envelope(const MpSettings& settings, const Envelope& envelope) {
  XmlWriter to(8 * 1024);
  to.raw(byte_order_mark);
  to.markup("<Msg ReplyCompression=\"");
  to.attribute(settings.reply_compression);
  to.markup("\" SchemaVersion=\"1.1\">");
  for (const ByteRange& range : envelope.attachments)
    write_attachment(to, range, settings.inventory_layout);
  to.markup("<Body Type=\"ByteRange\" Length=\"");
  to.unsigned_number(envelope.body.length);
  to.markup("\" Offset=\"");
  to.unsigned_number(envelope.body.offset);
  to.markup("\" /><CorrelationID>{00000000-0000-0000-0000-000000000000}</CorrelationID>");
  if (!envelope.file_type.empty() && settings.relay_filetype_form == FileTypeForm::element)
    to.element("FileType", envelope.file_type);
  write_hooks(to, settings, envelope);
  to.element("ID", envelope.message_id);
  to.markup("<Payload Type=\"inline\" /><Priority>0</Priority><Protocol>http</Protocol>");
  if (settings.offer_registration_reset) {
    to.markup("<ReplyCapabilities><AllowRegistrationReset>direct:");
    to.text(envelope.netbios_name);
    to.markup(":ClientRegistration</AllowRegistrationReset></ReplyCapabilities>");
  }
  to.element("ReplyMode", envelope.reply_mode);
  to.markup("<ReplyTo>direct:");
  to.text(envelope.netbios_name);
  to.markup(":");
  to.text(settings.reply_endpoint);
  to.markup("</ReplyTo>");
  to.element("SentTime", envelope.sent_time);
  if (!envelope.source_id.empty()) to.element("SourceID", envelope.source_id);
  to.element("SourceHost", envelope.netbios_name);
  to.markup("<TargetAddress>mp:");
  to.text(envelope.endpoint);
  to.markup("</TargetAddress>");
  to.element("TargetEndpoint", envelope.endpoint);
  to.markup("<TargetHost>");
  EnvelopeText written;
  written.target_host_offset = to.size();
  to.text(settings.target_host);
  written.target_host_bytes = to.size() - written.target_host_offset;
  to.markup("</TargetHost>");
  to.element("Timeout", settings.timeout);
  to.markup("</Msg>");
  written.utf16 = to.take();
  return written;
}

}  // namespace greengate::adapters
