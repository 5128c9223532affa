#pragma once

#include "core/result.h"

#include <string>
#include <utility>
#include <vector>

namespace greengate::adapters {

/// What a class is made of, in neutral words.
struct ClassShape {
  std::string name;        ///< "Contoso_Asset"
  std::string name_space;  ///< "root\cimv2"; empty: that
  std::vector<std::string> keys;
  /// Names in order, with "string", "integer", "unsigned", "boolean", "datetime" or "list".
  std::vector<std::pair<std::string, std::string>> properties;
};

/// How a site shall call it; empty parts follow from the class's name, cut at its first underscore.
struct MofNames {
  std::string group;    ///< In the console: "Contoso Asset".
  std::string vendor;   ///< First part of the class id: "CONTOSO".
  std::string version;  ///< Last part of the class id: "1.0".
};

/// The text that an administrator imports into the hardware inventory classes of the default client settings, so that the site keeps
/// what machines report of this class.
///
/// Promise   ASCII, lines ended by CR LF. Every name is one or is refused, so nothing of the text can be anything but names.
/// Limits    1,024 properties; names of 64 characters.
/// Errors    mp.mof_class, mp.mof_namespace, mp.mof_property, mp.mof_keys, mp.mof_names (reject)
/// Source    Microsoft, "How to import a MOF file to extend inventory" (configmgr/develop/core/clients/inventory, 2022-10-10), its example,
///           and "Editing SMS_def.mof" for the meaning of the qualifiers (D). That a list becomes an array the site keeps is inferred.
Result<std::string> mof_text(const ClassShape& shape, const MofNames& names = {});

}  // namespace greengate::adapters
